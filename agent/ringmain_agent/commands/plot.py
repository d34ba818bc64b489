"""Plot of a plan: power, batteries, prices and transformers over the horizon, with their limits. Needs matplotlib."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import matplotlib as mpl
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

from ringmain_agent.commands.explain import Explanation
from ringmain_agent.equipment import transformer_thermal as thermal
from ringmain_agent.site.hours import step_starts_ms
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import Snapshot

WIDTH_INCH: Final = 11.0
PANEL_INCH: Final = 2.3
DOTS_PER_INCH: Final = 130
COLORS: Final = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8a6d3b", "#555555")
"""Color-blind safe palette of Okabe and Ito."""
LIMIT: Final = {"color": "#b00020", "linestyle": (0, (5, 3)), "linewidth": 1.0}
STYLE: Final[Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
}


def draw(explanation: Explanation, snapshot: Snapshot, site: Site, path: Path) -> None:
    """Write the plot; the suffix of the file selects its format."""
    plan = explanation.plan
    panels = [_power]
    if any(name in plan.power_kw for name in _controlled(site)):
        panels.append(_equipment)
    if plan.soc_kwh:
        panels.append(_energy)
    panels.append(_prices)
    if plan.hot_spot_degc:
        panels.append(_temperatures)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH_INCH, PANEL_INCH * len(panels) + 0.6), layout="constrained", dpi=DOTS_PER_INCH)
        all_axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for axes, panel in zip(all_axes, panels, strict=True):
            panel(axes, explanation, snapshot, site)
            axes.legend(loc="upper left", bbox_to_anchor=(1.005, 1.02), frameon=False, borderaxespad=0.0)
            axes.margins(x=0)
        last, zone = all_axes[-1], ZoneInfo(site.time_zone)
        locator = AutoDateLocator(tz=zone, minticks=6, maxticks=13)  # type: ignore[no-untyped-call]
        last.xaxis.set_major_locator(locator)
        last.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=zone))  # type: ignore[no-untyped-call]
        last.set_xlabel(f"time, {site.time_zone}")
        figure.align_ylabels(all_axes)
        cost = f"cost {explanation.total:.2f} {explanation.currency}"
        figure.suptitle(f"{site.site}: {plan.fallback.value} schedule, {cost}", x=0.01, ha="left", fontsize=11)
        figure.savefig(path)


def _power(axes: Any, explanation: Explanation, snapshot: Snapshot, site: Site) -> None:  # noqa: ANN401  matplotlib's stubs
    plan = explanation.plan
    _steps(axes, explanation, explanation.load_kw, "load", COLORS[7])
    for color, generator in zip(COLORS[1:], site.generators, strict=False):
        _steps(axes, explanation, plan.power_kw.get(generator.name, []), generator.name, color)
    _steps(axes, explanation, plan.pcc_kw, "pcc (grid)", COLORS[0], linewidth=1.8)
    margin_kw = site.grid_connection.margin_kw
    _limit(axes, explanation, [max(limit - margin_kw, 0.0) for limit in snapshot.import_limit_kw], "limit less margin")
    _limit(axes, explanation, [-max(limit - margin_kw, 0.0) for limit in snapshot.export_limit_kw], None)
    axes.axhline(0, color="black", linewidth=0.6)
    axes.set_ylabel("power, kW\n(positive: drawn)")


def _equipment(axes: Any, explanation: Explanation, snapshot: Snapshot, site: Site) -> None:  # noqa: ANN401
    del snapshot
    for color, name in zip(COLORS * 4, _controlled(site), strict=False):
        _steps(axes, explanation, explanation.plan.power_kw.get(name, []), name, color, fill=True)
    axes.axhline(0, color="black", linewidth=0.6)
    for index, battery in enumerate(site.batteries):
        label = None if index else "rated power of batteries"
        _limit(axes, explanation, [battery.charge_max_kw] * len(explanation.plan.pcc_kw), label)
        _limit(axes, explanation, [-battery.discharge_max_kw] * len(explanation.plan.pcc_kw), None)
    axes.set_ylabel("controlled power, kW\n(positive: drawn)")


def _energy(axes: Any, explanation: Explanation, snapshot: Snapshot, site: Site) -> None:  # noqa: ANN401
    """Energy in percent of the capacity, starting with the measured energy."""
    ends = _instants(explanation)
    for index, (color, battery) in enumerate(zip(COLORS * 4, site.batteries, strict=False)):
        energy_kwh = explanation.plan.soc_kwh.get(battery.name)
        if not energy_kwh:
            continue
        path = [snapshot.soc_kwh.get(battery.name) or energy_kwh[0], *energy_kwh]
        percent = [100 * value / battery.capacity_kwh for value in path]
        axes.plot(ends, percent, color=color, label=f"{battery.name}, {battery.capacity_kwh:g} kWh", linewidth=1.6)
        for share in (battery.soc_min_pu, battery.soc_max_pu):
            axes.axhline(100 * share, **LIMIT, label="band" if index == 0 and share == battery.soc_min_pu else None)
    axes.set_ylim(0, 100)
    axes.set_ylabel("state of charge, %")


def _prices(axes: Any, explanation: Explanation, snapshot: Snapshot, site: Site) -> None:  # noqa: ANN401
    del snapshot
    _steps(axes, explanation, explanation.import_price_per_kwh, "import", COLORS[5], linewidth=2.0)
    _steps(axes, explanation, explanation.export_price_per_kwh, "export", COLORS[2], linestyle="--")
    axes.set_ylabel(f"price, {site.tariff.currency}/kWh")


def _temperatures(axes: Any, explanation: Explanation, snapshot: Snapshot, site: Site) -> None:  # noqa: ANN401
    del snapshot
    plan, ends = explanation.plan, _instants(explanation)
    starts_ms = step_starts_ms(plan.issued_at_ms, plan.step_s, len(plan.pcc_kw))
    for index, (color, transformer) in enumerate(zip(COLORS * 4, site.transformers, strict=False)):
        axes.plot(ends[1:], plan.hot_spot_degc[transformer.name], color=color, label=f"{transformer.name} hot spot")
        top_oil_degc = plan.top_oil_degc[transformer.name]
        axes.plot(ends[1:], top_oil_degc, color=color, label=f"{transformer.name} top oil", linestyle=":")
        limits = thermal.limits_at(transformer, starts_ms, site.time_zone)
        most = [limit.hot_spot_max_degc for limit in limits]
        _limit(axes, explanation, most, "hot spot limit" if index == 0 else None)
    axes.set_ylabel("transformer, °C")


def _controlled(site: Site) -> list[str]:
    return [battery.name for battery in site.batteries] + [load.name for load in site.controllable_loads]


def _instants(explanation: Explanation) -> list[datetime]:
    """START of each step, and END of the last."""
    plan = explanation.plan
    count = len(explanation.import_price_per_kwh) + 1
    return [datetime.fromtimestamp(plan.issued_at_ms / 1000 + plan.step_s * step, UTC) for step in range(count)]


def _steps(  # noqa: PLR0913  values and style of a line
    axes: Any,  # noqa: ANN401
    explanation: Explanation,
    values: list[float],
    label: str,
    color: str,
    *,
    linewidth: float = 1.3,
    fill: bool = False,
    linestyle: str = "-",
) -> None:
    """Line of mean values, constant over each step."""
    if values:
        path = [*values, values[-1]]
        instants = _instants(explanation)
        axes.step(instants, path, where="post", label=label, color=color, linewidth=linewidth, linestyle=linestyle)
        if fill:
            axes.fill_between(instants, path, step="post", color=color, alpha=0.18, linewidth=0)


def _limit(axes: Any, explanation: Explanation, values: list[float], label: str | None) -> None:  # noqa: ANN401
    if values:
        axes.step(_instants(explanation), [*values, values[-1]], where="post", label=label, **LIMIT)
