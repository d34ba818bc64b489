"""Reads step values and series of one site from the history. A value that is null or of quality MISSING is a gap (NaN)."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import numpy as np
import polars as pl

from ringmain_protocol import topics
from ringmain_protocol.messages import Quality
from ringmain_trainer.arrays import Floats
from ringmain_trainer.history.delta import scan

_AHEAD_MAX: Final = timedelta(days=1)
_BEHIND_MAX: Final = timedelta(days=3660)


class StepTable(NamedTuple):
    """Step values of one site on a grid without holes: `(n_steps, n_signals)`, NaN for a gap."""

    start_s: int
    values: Floats


class Issue(NamedTuple):
    """One issue of a series: `values[i]` holds from `start_s + i * step_s` on, for `step_s`."""

    issued_at_s: int
    start_s: int
    step_s: int
    values: Floats


class SeriesHistory(NamedTuple):
    """All issues of one series in order of issue, and its unit."""

    unit: str
    issues: list[Issue]


def read_steps(  # noqa: PLR0913, PLR0917  signals, and between which instants
    location: str, site: str, signals: Sequence[str], step_s: int, until: datetime | None, since: datetime | None = None
) -> StepTable | None:
    """Step values of a site from its first to its last step before `until`; None if the first signal has no step.

    Of several values for one step the last received counts. A step is left out if it begins more than a day after its
    receipt, or more than ten years before it: its time stamp is wrong.
    """
    rows = scan(location, topics.STEPS, site=site, since=since).filter(
        pl.col("signal").is_in(list(signals)),
        pl.col("step_s") == step_s,
        pl.col("value").is_not_null(),
        pl.col("quality") < Quality.MISSING,
        pl.col("start_at") <= pl.col("received_at") + _AHEAD_MAX,
        pl.col("start_at") >= pl.col("received_at") - _BEHIND_MAX,
    )
    if until is not None:
        rows = rows.filter(pl.col("start_at") + timedelta(seconds=step_s) <= until)
    newest = rows.sort("received_at", "sequence").unique(["signal", "start_at"], keep="last")
    instants = pl.col("start_at").dt.epoch("s").alias("start_s")
    return step_table(newest.select("signal", instants, "value").collect(), signals, step_s)


def step_table(rows: pl.DataFrame, signals: Sequence[str], step_s: int) -> StepTable | None:
    """Rows `signal`, `start_s`, `value` on a grid; None without a row of the first signal, the target."""
    of_target = rows.filter(pl.col("signal") == signals[0])["start_s"]
    first, last = of_target.min(), of_target.max()
    if not isinstance(first, int) or not isinstance(last, int):
        return None
    first -= first % step_s
    values = np.full(((last - first) // step_s + 1, len(signals)), np.nan, np.float32)
    inside = rows.filter(pl.col("start_s").is_between(first, last), pl.col("start_s") % step_s == 0)
    for column, signal in enumerate(signals):
        own = inside.filter(pl.col("signal") == signal)
        values[(own["start_s"].to_numpy() - first) // step_s, column] = own["value"].to_numpy()
    return StepTable(first, values)


def read_series(
    location: str, site: str, names: Sequence[str], until: datetime | None, since: datetime | None = None
) -> dict[str, SeriesHistory]:
    """All issues of the named series of a site; a series without any has an empty list."""
    rows = scan(location, topics.SERIES, site=site, since=since).filter(pl.col("name").is_in(list(names)))
    if until is not None:
        rows = rows.filter(pl.col("issued_at") <= until)
    instants = (pl.col("issued_at").dt.epoch("s").alias("issued_s"), pl.col("valid_at").dt.epoch("s").alias("start_s"))
    columns = ["name", *instants, "step_s", "unit", pl.col("value").cast(pl.Float32)]
    frame = rows.sort("name", "issued_at", "valid_at").select(columns).collect()
    histories: dict[str, SeriesHistory] = {name: SeriesHistory("", []) for name in names}
    for (name,), part in frame.partition_by("name", as_dict=True, maintain_order=True).items():
        issued_s, start_s, step_s = (part[column].to_numpy() for column in ("issued_s", "start_s", "step_s"))
        values = part["value"].to_numpy()
        first = np.flatnonzero(np.diff(issued_s, prepend=issued_s[0] - 1))
        last = [*first[1:].tolist(), len(values)]
        issues = [
            Issue(int(issued_s[i]), int(start_s[i]), int(step_s[i]), values[i:j]) for i, j in zip(first, last, strict=True)
        ]
        histories[str(name)] = SeriesHistory(part["unit"][-1], issues)  # the unit of the newest issue
    return histories


def read_time_zone(location: str, site: str) -> str | None:
    """The time zone in the site's newest status."""
    rows = scan(location, topics.STATUS, site=site).sort("received_at").select(pl.col("time_zone").last()).collect()
    zone = rows["time_zone"].to_list()
    return zone[0] if zone else None


def read_sites(location: str) -> list[str]:
    """Sites with step values."""
    return sorted(scan(location, topics.STEPS).select(pl.col("site").unique()).collect()["site"].to_list())
