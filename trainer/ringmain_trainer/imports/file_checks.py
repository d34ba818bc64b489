"""Faults of an imported file that leave its rows usable: each a warning with line or time, and what to do. Pure.

Stamps are checked as the file's own clock shows them: midnight with the date of the day that ended, an hour missing or
doubled as on a wall clock, stamps off the grid, several rows of one stamp. Power is checked against current and voltage.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Final

import numpy as np
import polars as pl

from ringmain_trainer.imports.column_mapping import FileMapping, fixed_offset_s
from ringmain_trainer.imports.file_reader import Values
from ringmain_trainer.quality.clock_faults import check_stamps
from ringmain_trainer.quality.cross_checks import check_voltage
from ringmain_trainer.quality.marks import Finding, Grid

_ADVICE: Final[Mapping[str, str]] = {
    "midnight": 'say midnight = "next_day" in the mapping',
    "duplicate": "if they are rows of several meters, pick one by where or site_column",
    "grid": "they count for the steps that they overlap; mend them if the clock of the meter is off",
    "no_such_time": "left out; look whether time_zone is right",
    "voltage": "look at the units of power and current, and at the voltage between the lines",
}


def check_file(imported: Sequence[Values], file: FileMapping, local_time_zone: str) -> dict[tuple[str, str], list[str]]:
    """Warnings by site and signal; signals that share their rows share the warnings about stamps.

    Args:
        imported: The values of the file.
        file: How its stamps were read.
        local_time_zone: The clock of the sites: stamps that were read by another one may still follow it.
    """
    warnings: dict[tuple[str, str], list[str]] = {(one.site, one.mapping.signal): [] for one in imported}
    by_rows = sorted(range(len(imported)), key=lambda i: (imported[i].site, sorted(imported[i].mapping.where.items()), i))
    for _, indices in groupby(by_rows, key=lambda i: (imported[i].site, sorted(imported[i].mapping.where.items()))):
        together = [imported[i] for i in indices]
        texts = list(_stamp_warnings(together[0], file, local_time_zone))
        for one in together:
            warnings[one.site, one.mapping.signal] += texts
    for site, signal, text in _voltage_warnings(imported):
        warnings[site, signal].append(text)
    return warnings


def _stamp_warnings(values: Values, file: FileMapping, local_time_zone: str) -> Iterator[str]:
    if file.issued_at is not None:  # a step comes again with every issue
        return
    is_local = fixed_offset_s(file.time_zone) is None and not values.has_offsets
    zone = file.time_zone if is_local else local_time_zone
    written_s = values.stamps["written"].dt.epoch("s").to_numpy()
    falls = (np.diff(written_s) < 0).sum() > (np.diff(written_s) > 0).sum()
    findings = check_stamps(written_s[::-1] if falls else written_s, values.step_s, zone)
    for one in findings:
        match one.rule:
            case "order":
                continue  # refused, or the mapping says that the rows are mixed
            case "duplicate" | "wall_clock" if is_local:
                continue  # the doubled hour of a local clock, as the mapping says
            case "no_such_time" if not is_local:
                continue  # a clock that never changes, as the mapping says
            case "wall_clock":
                advice = f"if the stamps are local, say time_zone = {zone!r} in the mapping, or --time-zone without one"
            case rule:
                advice = _ADVICE[rule]
        yield f"{_place(values.stamps, one)}: {one.reason}; {advice}"


def _place(stamps: pl.DataFrame, finding: Finding) -> str:
    """The first line of the file that a finding concerns."""
    at = np.datetime64(finding.from_s, "s").item()
    line = stamps.filter(pl.col("written") >= at).sort("written", maintain_order=True)["line"][0]
    return f"line {line}, {at:%Y-%m-%d %H:%M}"


def _voltage_warnings(imported: Sequence[Values]) -> Iterator[tuple[str, str, str]]:
    """Power of `x_kw` against the current `x_a` and the voltage: `nominal_kv` of the mapping, else `x_v` of the file."""
    by_name = {(one.site, one.mapping.signal): one for one in imported if one.mapping.to == "steps"}
    for (site, name), current in by_name.items():
        power = by_name.get((site, f"{name.removesuffix('_a')}_kw"))
        if power is None or not name.endswith("_a"):
            continue
        nominal_kv = current.mapping.nominal_kv or _measured_kv(by_name.get((site, f"{name.removesuffix('_a')}_v")))
        rows = power.rows.join(current.rows, on="start_at", suffix="_a")
        if nominal_kv is None or rows.is_empty():
            continue
        power_kw, current_a = rows["value"].to_numpy(), rows["value_a"].to_numpy()
        grid = Grid(int(rows["start_at"].dt.epoch("s")[0]), power.step_s)
        for one in check_voltage(power_kw, current_a, nominal_kv, power.mapping.signal, grid):
            yield site, power.mapping.signal, f"{rows['start_at'][0]:%Y-%m-%d %H:%M}: {one.reason}; {_ADVICE[one.rule]}"


def _measured_kv(voltage: Values | None) -> float | None:
    median = None if voltage is None else voltage.rows["value"].median()
    return median / 1000 if isinstance(median, float) else None
