"""Readings of the simulated sensors compared with the history, without the counters of the programs.

The history is read from outside: Delta tables, opened with `deltalake` and Polars.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import polars as pl
from deltalake import DeltaTable
from msgspec import Struct

from ringmain_protocol.messages import Fallback
from ringmain_protocol.steps import Reading, step_value
from ringmain_simulation.sent import SentReadings

STEP_S: Final = 900
HOLD_S: Final = 900.0

_KEY: Final = ("signal", "at_ms")
_ENTRY: Final = {"signal": pl.String, "at_ms": pl.Int64, "value": pl.Float64}


class Comparison(Struct, frozen=True, kw_only=True):
    """Expected entries of one site, and the entries in the history.

    `lost` entries are expected and missing, `duplicated` ones are repetitions, `differing` ones have another value than
    expected, `unexpected` ones were never sent.
    """

    expected: int
    found: int
    lost: int
    duplicated: int
    differing: int
    unexpected: int

    @property
    def exactly_once(self) -> bool:
        """Whether the history has exactly the readings that were sent."""
        return not (self.lost or self.duplicated or self.differing or self.unexpected)


def read_table(history: Path, name: str, columns: Sequence[str]) -> pl.DataFrame:
    """Some columns of a history table; no rows if it does not exist yet."""
    folder = history / name
    if not DeltaTable.is_deltatable(str(folder)):
        return pl.DataFrame(schema=dict.fromkeys(columns, pl.Null))
    files = DeltaTable(str(folder)).file_uris()
    if not files:
        return pl.DataFrame(schema=dict.fromkeys(columns, pl.Null))
    return pl.concat([pl.read_parquet(file, columns=list(columns), hive_partitioning=False) for file in files])


def compare_readings(history: Path, sent: SentReadings) -> dict[str, Comparison]:
    """The readings of each site in the history against the readings of its sensors."""
    rows = _entries(read_table(history, "readings", ["site", "signal", "at", "value"]), "at")
    return {site: _compare(_sent_readings(sent, site), _of_site(rows, site)) for site in sent.sites}


def compare_steps(history: Path, sent: SentReadings, *, until_ms: int) -> dict[str, Comparison]:
    """The step values of each site in the history against the step values of its sensors' readings, bit for bit.

    Only steps that ended at or before `until_ms` are expected. A step without a value need not be in the history.
    """
    rows = _entries(read_table(history, "steps", ["site", "signal", "start_at", "value"]), "start_at")
    result = {}
    for site in sent.sites:
        in_history = _of_site(rows, site).filter(pl.col("value").is_not_null())
        result[site] = _compare(_expected_steps(sent, site, until_ms), in_history)
    return result


def count_fallbacks(history: Path, *, from_ms: int) -> dict[str, dict[str, int]]:
    """Setpoint reports of each site from an instant on with a fallback level other than `optimal`, by level."""
    rows = read_table(history, "setpoints", ["site", "stream", "sequence", "issued_at", "fallback"])
    if rows.is_empty():
        return {}
    shown = rows.filter(pl.col("issued_at").dt.epoch("ms") >= from_ms, pl.col("fallback") != Fallback.OPTIMAL.value)
    by_level = shown.unique(["site", "stream", "sequence"]).group_by("site", "fallback").len()
    fallbacks: dict[str, dict[str, int]] = {}
    for site, fallback, count in by_level.iter_rows():
        fallbacks.setdefault(site, {})[fallback] = count
    return fallbacks


def _entries(rows: pl.DataFrame, instant: str) -> pl.DataFrame:
    if rows.is_empty():
        return pl.DataFrame(schema={"site": pl.String, **_ENTRY})
    return rows.select("site", "signal", pl.col(instant).dt.epoch("ms").alias("at_ms"), pl.col("value").cast(pl.Float64))


def _of_site(rows: pl.DataFrame, site: str) -> pl.DataFrame:
    return rows.filter(pl.col("site") == site).select(*_ENTRY)


def _compare(expected: pl.DataFrame, rows: pl.DataFrame) -> Comparison:
    once = rows.group_by(_KEY).agg(pl.col("value").first(), pl.len().alias("times"))
    both = expected.join(once, on=_KEY, how="inner", suffix="_found")
    same = (both["value"] - both["value_found"]).abs() <= 1e-9 * (1.0 + both["value"].abs())
    return Comparison(
        expected=expected.height,
        found=both.height,
        lost=expected.height - both.height,
        duplicated=rows.height - once.height,
        differing=both.height - int(same.sum()),
        unexpected=once.height - both.height,
    )


def _sent_readings(sent: SentReadings, site: str) -> pl.DataFrame:
    parts = [_frame(signal, *sent.column(site, signal)) for signal in sent.signals(site)]
    return pl.concat(parts) if parts else pl.DataFrame(schema=_ENTRY)


def _frame(signal: str, times: Sequence[int], values: Sequence[float]) -> pl.DataFrame:
    return pl.DataFrame(
        {"at_ms": list(times), "value": list(values)}, schema={"at_ms": pl.Int64, "value": pl.Float64}
    ).select(pl.lit(signal).alias("signal"), "at_ms", "value")


def _expected_steps(sent: SentReadings, site: str, until_ms: int) -> pl.DataFrame:
    parts = []
    for signal in sent.signals(site):
        values = step_values(sent, site, signal, until_ms=until_ms)
        known = {at_ms: value for at_ms, value in values.items() if value is not None}
        parts.append(_frame(signal, list(known), list(known.values())))
    return pl.concat(parts) if parts else pl.DataFrame(schema=_ENTRY)


def step_values(sent: SentReadings, site: str, signal: str, *, until_ms: int) -> dict[int, float | None]:
    """Step values of a signal by START, by the protocol's definition, from the sent readings."""
    readings = [Reading(signal, at_ms, value) for at_ms, value in zip(*sent.column(site, signal), strict=True)]
    values: dict[int, float | None] = {}
    if not readings:
        return values
    first, step_ms = 0, 1000 * STEP_S
    for start_ms in range(readings[0].at_ms - readings[0].at_ms % step_ms, until_ms - step_ms + 1, step_ms):
        last = first
        while last < len(readings) and readings[last].at_ms < start_ms + step_ms:
            last += 1
        within = readings[max(first - 1, 0) : last]  # the reading before may still hold
        values[start_ms] = step_value(signal, within, start_ms=start_ms, step_s=STEP_S, hold_s=HOLD_S).value
        first = last
    return values


def count_rows(history: Path, name: str) -> int:
    """Number of rows of a history table, from its log."""
    folder = str(history / name)
    return int(DeltaTable(folder).count()) if DeltaTable.is_deltatable(folder) else 0
