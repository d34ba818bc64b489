"""Data quality of sites in the history: read, checked by all rules, summed up. Nothing is written.

Signals are the step values as the newest message has them; series known ahead (weather, prices) are looked at as they were
issued last for each step, under `series/<name>`.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Final, NamedTuple

import numpy as np
import polars as pl
from msgspec import Struct, structs

from ringmain_protocol import topics
from ringmain_trainer.arrays import Floats
from ringmain_trainer.calendar import DAY_S
from ringmain_trainer.config.trainer import TrainerConfig, is_time_zone
from ringmain_trainer.history.delta import scan
from ringmain_trainer.history.site_reader import StepTable, read_series, read_sites, read_steps, read_time_zone
from ringmain_trainer.quality.clock_faults import check_clock
from ringmain_trainer.quality.cross_checks import check_beside
from ringmain_trainer.quality.marks import Checked, Finding, Grid, Severity, SignalQuality, masked, names_of, quality_of
from ringmain_trainer.quality.rules import check, check_signal
from ringmain_trainer.workers import run_all

SERIES: Final = "series/"
_STEPS_MIN: Final = 96
_CHECKED: Final[dict[str, pl.DataType | type[pl.DataType]]] = {
    "site": pl.String,
    "signal": pl.String,
    "start_at": pl.Datetime("us", "UTC"),
    "value": pl.Float32,
    "quality": pl.Int8,
    "marks": pl.String,
    "used": pl.Boolean,
}


class SiteQuality(Struct, frozen=True, kw_only=True):
    """Findings at one site; without a check `reason` says why.

    `findings` are those that concern the clock, doubled steps, or several signals; those of one signal stand with it.
    """

    site: str
    reason: str = ""
    time_zone: str = ""
    steps: int = 0
    good_share: float = 0.0
    errors: int = 0
    warnings: int = 0
    signals: list[SignalQuality] = []
    findings: list[Finding] = []


class SiteSteps(NamedTuple):
    """All signals of a site on one grid, as they are in the history."""

    site: str
    time_zone: str
    signals: list[str]
    steps: StepTable


def read_site_steps(config: TrainerConfig, site: str, *, until: datetime | None = None) -> SiteSteps | None:
    """All signals that a site has steps of; None without any."""
    rows = scan(config.history, topics.STEPS, site=site).filter(pl.col("step_s") == config.training.step_s)
    names = sorted(rows.select(pl.col("signal").unique()).collect()["signal"].to_list())
    step_s = config.training.step_s
    read = {name: read_steps(config.history, site, [name], step_s, until) for name in names}
    tables = {name: table for name, table in read.items() if table is not None}
    if not tables:
        return None
    first = min(table.start_s for table in tables.values())
    last = max(table.start_s + step_s * len(table.values) for table in tables.values())
    values = np.full(((last - first) // step_s, len(tables)), np.nan, np.float32)
    for column, table in enumerate(tables.values()):
        row = (table.start_s - first) // step_s
        values[row : row + len(table.values), column] = table.values[:, 0]
    zone = read_time_zone(config.history, site) or config.time_zone
    return SiteSteps(site, zone if is_time_zone(zone) else config.time_zone, list(tables), StepTable(first, values))


def check_steps(config: TrainerConfig, read: SiteSteps) -> tuple[Checked, list[Finding]]:
    """Marks and summaries of all signals of a site, and what concerns its clock or several signals."""
    grid = Grid(read.steps.start_s, config.training.step_s)
    checked = check(read.steps.values, read.signals, grid, config.quality)
    clean = masked(read.steps.values, checked, config.quality)
    found = check_clock(clean, read.signals, grid, read.time_zone, config.quality)
    return checked, [*found, *check_beside(clean, read.signals, grid, config.quality)]


def site_quality(site: str, *, config: TrainerConfig, until: datetime | None = None) -> SiteQuality:
    """The whole check of one site."""
    read = read_site_steps(config, site, until=until)
    if read is None:
        return SiteQuality(site=site, reason=f"no steps of {config.training.step_s} s in the history")
    checked, findings = check_steps(config, read)
    series, of_series = _series_quality(config, read, until)
    signals = [*checked.signals, *series]
    findings = [*findings, *of_series, *_doubled(config, read, until)]
    every = [*findings, *(one for signal in signals for one in signal.findings)]
    return SiteQuality(
        site=site,
        time_zone=read.time_zone,
        steps=len(read.steps.values),
        good_share=float(np.mean([signal.good_share for signal in checked.signals])),
        errors=sum(one.severity == Severity.ERROR for one in every),
        warnings=sum(one.severity == Severity.WARNING for one in every),
        signals=signals,
        findings=findings,
    )


def quality(
    config: TrainerConfig, sites: Sequence[str] = (), *, until: datetime | None = None, dask: str = ""
) -> Iterator[SiteQuality]:
    """The check of these sites, or of all that have steps, as they are ready."""
    names = list(sites) or read_sites(config.history)
    work = partial(site_quality, config=config, until=until)
    for outcome in run_all(work, names, jobs=config.training.jobs, dask=dask):
        yield outcome.value or SiteQuality(site=names[outcome.number], reason=outcome.reason)


def finding_rows(sites: Iterable[SiteQuality]) -> list[dict[str, object]]:
    """One line per site and per finding, the worst first: what the command prints without `--json`."""
    order = list(reversed(Severity))
    rows: list[dict[str, object]] = []
    for one in sites:
        head = {"site": one.site, "steps": one.steps, "good_share": round(one.good_share, 4)}
        rows.append(head | {"errors": one.errors, "warnings": one.warnings, "reason": one.reason})
        every = [*one.findings, *(finding for signal in one.signals for finding in signal.findings)]
        for finding in sorted(every, key=lambda this: (order.index(this.severity), -this.count)):
            instants = {"from": finding.from_s, "to": finding.to_s}
            texts = {name: datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%MZ") for name, at in instants.items()}
            row: dict[str, object] = {"site": one.site, "signal": finding.signal, "severity": str(finding.severity)}
            rows.append(row | {"rule": finding.rule, "count": finding.count} | texts | {"reason": finding.reason})
    return rows


def checked_steps(config: TrainerConfig, site: str, *, until: datetime | None = None) -> pl.DataFrame:
    """Step values with what the rules say of each: the rows of the view `steps_checked`.

    `quality` is that of the protocol: 0 good, 1 suspect, 2 missing; `marks` names what was found, `used` says whether
    training takes the value.
    """
    read = read_site_steps(config, site, until=until)
    if read is None:
        return pl.DataFrame(schema=_CHECKED)
    checked, _ = check_steps(config, read)
    used = np.isfinite(masked(read.steps.values, checked, config.quality))
    grid = Grid(read.steps.start_s, config.training.step_s)
    start_s = grid.start_s + grid.step_s * np.arange(len(used))
    parts = []
    for column, signal in enumerate(read.signals):
        marks = checked.marks[:, column]
        names = {int(one): names_of(int(one)) for one in np.unique(marks)}
        part = {
            "start_at": start_s * 1_000_000,
            "value": read.steps.values[:, column],
            "quality": quality_of(marks),
            "marks": [names[one] for one in marks.tolist()],
            "used": used[:, column],
        }
        frame = pl.DataFrame(part).with_columns(
            pl.lit(site).alias("site"),
            pl.lit(signal).alias("signal"),
            pl.col("start_at").cast(pl.Datetime("us")).dt.replace_time_zone("UTC"),
            pl.col("value").fill_nan(None),
        )
        parts.append(frame.select(pl.col(name).cast(kind) for name, kind in _CHECKED.items()))
    return pl.concat(parts)


def steps_checked(
    config: TrainerConfig,
    sites: Sequence[str] = (),
    *,
    signals: Sequence[str] | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> pl.LazyFrame:
    """The view `steps_checked` of `history --sql`, of these sites or of all: the whole of each is checked for an answer."""
    frames = [checked_steps(config, site) for site in list(sites) or read_sites(config.history)]
    rows = pl.concat([pl.DataFrame(schema=_CHECKED), *frames]).lazy()
    if signals is not None:
        rows = rows.filter(pl.col("signal").is_in(list(signals)))
    if since is not None:
        rows = rows.filter(pl.col("start_at") >= since)
    return rows if until is None else rows.filter(pl.col("start_at") < until)


def _series_quality(
    config: TrainerConfig, read: SiteSteps, until: datetime | None
) -> tuple[list[SignalQuality], list[Finding]]:
    """The series known ahead, newest issue for each step, on their own spacing."""
    rows = scan(config.history, topics.SERIES, site=read.site)
    names = sorted(rows.select(pl.col("name").unique()).collect()["name"].to_list())
    summaries, findings = [], []
    for name, history in read_series(config.history, read.site, names, until).items():
        steps = {issue.step_s for issue in history.issues}
        if len(steps) != 1:
            continue
        step_s = steps.pop()
        first = min(issue.start_s for issue in history.issues)
        last = max(issue.start_s + step_s * len(issue.values) for issue in history.issues)
        values = np.full((last - first) // step_s, np.nan)
        for issue in history.issues:
            row = (issue.start_s - first) // step_s
            values[row : row + len(issue.values)] = issue.values
        if len(values) < _STEPS_MIN or DAY_S % step_s:
            continue
        grid = Grid(first, step_s)
        _, summary = check_signal(values, name, grid, config.quality)
        found = check_clock(_column(values), [name], grid, read.time_zone, config.quality)
        found += check_beside(_column(values), [name], grid, config.quality)
        summaries.append(_renamed(summary))
        findings += [_of_series(one) for one in found]
    return summaries, findings


def _doubled(config: TrainerConfig, read: SiteSteps, until: datetime | None) -> list[Finding]:
    """Steps that several messages tell with different values: the one received last counts."""
    rows = scan(config.history, topics.STEPS, site=read.site).filter(
        pl.col("step_s") == config.training.step_s, pl.col("value").is_not_null()
    )
    if until is not None:
        rows = rows.filter(pl.col("start_at") <= until)
    twice = rows.group_by("signal", "start_at").agg(pl.col("value").n_unique().alias("count")).filter(pl.col("count") > 1)
    at = pl.col("start_at").dt.epoch("s")
    by = twice.group_by("signal").agg(pl.len().alias("count"), at.min().alias("first"), at.max().alias("last"))
    return [
        Finding(
            signal=signal,
            rule="duplicate",
            severity=Severity.WARNING,
            reason=f"{count} steps were received more than once, with different values; the one received last counts",
            from_s=first,
            to_s=last + config.training.step_s,
            count=count,
        )
        for signal, count, first, last in by.sort("signal").collect().iter_rows()
    ]


def _column(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Floats:
    column: Floats = values.astype(np.float32)[:, None]
    return column


def _of_series(finding: Finding) -> Finding:
    return structs.replace(finding, signal=SERIES + finding.signal)


def _renamed(summary: SignalQuality) -> SignalQuality:
    found = [_of_series(one) for one in summary.findings]
    return structs.replace(summary, signal=SERIES + summary.signal, findings=found)
