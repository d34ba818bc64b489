"""The demo in the terminal: one row a site during the run, one table at the end."""

from datetime import UTC, datetime
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.table import Table

from ringmain_protocol.messages import Status
from ringmain_simulation.lockstep import Lockstep
from ringmain_simulation.summary import Score, Summary

_RIGHT: Final = "right"


def live_table(lockstep: Lockstep, *, phase: str, elapsed_s: float, metrics_url: str) -> Table:
    """The sites at this moment of simulated time. Powers in kW, positive is drawn from the network."""
    at = datetime.fromtimestamp(lockstep.now_ms / 1000, UTC)
    table = Table(
        title=f"{phase}   simulated {at:%a %Y-%m-%d %H:%M} UTC   {elapsed_s:.0f} s",
        caption=f"kW, positive is drawn from the grid   metrics: {metrics_url}   Ctrl-C stops everything",
        box=SIMPLE_HEAD,
    )
    table.add_column("site", no_wrap=True)
    for name in ("load", "PV", "battery", "SoC %", "grid", "limit"):
        table.add_column(name, justify=_RIGHT, no_wrap=True)
    for name in ("mode", "forecast", "fallback"):
        table.add_column(name)
    table.add_column("over limit\n(without)", justify=_RIGHT)
    for name, site in lockstep.sites.items():
        newest, limit_kw = site.newest, site.design.import_limit_kw
        counts, status = lockstep.counts(name), lockstep.status(name)
        pcc_kw = newest.get("pcc_kw", 0.0)
        table.add_row(
            name,
            *(f"{newest.get(signal, 0.0):,.0f}" for signal in ("load_kw", "pv_kw", "battery_kw")),
            f"{100 * site.battery.soc_kwh / site.design.battery.capacity_kwh:.0f}",
            f"{pcc_kw:,.0f}" if pcc_kw <= limit_kw else f"[bold red]{pcc_kw:,.0f}[/]",
            f"{limit_kw:,.0f}",
            "-" if status is None else status.mode.value,
            _forecast(status),
            "-" if status is None else status.fallback.value,
            f"{counts.violations} ({counts.violations_without_control})",
        )
    return table


def summary_table(summary: Summary) -> Table:
    """Result of the run, site by site and in all."""
    title = f"Summary: {len(summary.sites)} sites, {summary.shown_days:g} days in control"
    table = Table(title=title, box=SIMPLE_HEAD, caption_justify="left")
    table.add_column("site", no_wrap=True)
    names = ("readings\nsent", "lost,\ntwice", "model", "forecast\nMAE kW", "persistence\nMAE kW")
    for name in (*names, "setpoints", "over limit\ncontrolled", "over limit\nwithout"):
        table.add_column(name, justify=_RIGHT)
    for name, site in summary.per_site.items():
        table.add_row(
            name,
            f"{site.readings.expected:,}",
            f"{site.readings.lost}, {site.readings.duplicated}",
            str(min(site.releases.values(), default=0)),
            *_errors(site.load),
            f"{site.setpoints_received:,}",
            str(site.limit_violations),
            str(site.limit_violations_without_control),
        )
    table.add_section()
    table.add_row(
        "all",
        f"{summary.readings_published:,}",
        f"{summary.readings_lost}, {summary.readings_duplicated_in_history}",
        str(summary.model_version_active),
        "-" if summary.forecast_mae_kw is None else f"{summary.forecast_mae_kw:,.0f}",
        "-" if summary.persistence_mae_kw is None else f"{summary.persistence_mae_kw:,.0f}",
        f"{summary.setpoints_sent:,}",
        str(summary.limit_violations),
        str(summary.limit_violations_without_control),
    )
    fallbacks = ", ".join(f"{count} x {name}" for name, count in summary.fallbacks.items()) or "none"
    table.caption = (
        "Forecast: load, day-ahead, all 96 quarter-hours, issued at 06:00 UTC, days after training. Persistence: "
        f"{summary.persistence}. Over limit: quarter-hours of import above the limit. Fallbacks: {fallbacks}. "
        f"{summary.duration_s:.0f} s in all."
    )
    return table


def _forecast(status: Status | None) -> str:
    releases = {} if status is None else status.releases
    return f"model {min(releases.values())}" if releases and min(releases.values()) else "persistence"


def _errors(score: Score | None) -> tuple[str, str]:
    if score is None:
        return "-", "-"
    return f"{score.forecast_mae_kw:,.0f}", f"{score.persistence_mae_kw:,.0f} {score.persistence}"
