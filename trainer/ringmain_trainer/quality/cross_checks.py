"""Data quality by comparison: a signal against another one, and against the abilities of its sensor. Pure."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ringmain_trainer.arrays import Values
from ringmain_trainer.config.trainer import QualityConfig, SignalKind
from ringmain_trainer.quality.marks import Finding, Grid, Severity, kind_of

_ROWS_MIN: Final = 500
_ROOT_3: Final = 3**0.5
_VOLTAGE_TOLERANCE: Final = 0.01


def check_beside(values: NDArray[np.floating], signals: Sequence[str], grid: Grid, config: QualityConfig) -> list[Finding]:
    """PV that does not follow the radiation; wind sensors with two states.

    Args:
        values: `(n_steps, n_signals)` without the values that the other rules took out.
        signals: Names of the columns.
        grid: When they are.
        config: Parameters of the rules.
    """
    kinds = [kind_of(signal, config) for signal in signals]
    findings: list[Finding] = []
    radiation = [column for column, kind in enumerate(kinds) if kind == SignalKind.RADIATION]
    for column, kind in enumerate(kinds):
        one = values[:, column].astype(np.float64)
        if kind == SignalKind.PV and radiation:
            findings += _follows(one, values[:, radiation[0]].astype(np.float64), signals[column], grid, config)
        if kind == SignalKind.WIND_SPEED:
            findings += _two_states(one, signals[column], grid)
    return findings


def implied_voltage_kv(power_kw: Values, current_a: Values) -> float:
    """Median of power over current and the root of three: the voltage between the lines, low by the power factor."""
    with np.errstate(invalid="ignore", divide="ignore"):
        voltage_kv = np.abs(power_kw) / (_ROOT_3 * np.abs(current_a))
    known = voltage_kv[np.isfinite(voltage_kv)]
    return float(np.median(known)) if len(known) else float("nan")


def check_voltage(power_kw: Values, current_a: Values, nominal_kv: float, signal: str, grid: Grid) -> list[Finding]:
    """Power above the product of current and nominal voltage: one of the three is wrong."""
    implied = implied_voltage_kv(power_kw, current_a)
    if not implied > nominal_kv * (1 + _VOLTAGE_TOLERANCE):
        return []
    text = (
        f"power over current gives {implied:.1f} kV, above the nominal {nominal_kv:g} kV: voltage, current or power is off"
    )
    return [_finding(signal, "voltage", Severity.NOTE, text, grid, len(power_kw))]


def _follows(values: Values, radiation: Values, signal: str, grid: Grid, config: QualityConfig) -> list[Finding]:
    light = np.isfinite(values) & np.isfinite(radiation)
    if light.sum() < _ROWS_MIN or np.ptp(values[light]) == 0 or np.ptp(radiation[light]) == 0:
        return []
    together = float(np.corrcoef(-values[light], radiation[light])[0, 1])
    if together >= config.follow_min:
        return []
    text = f"hardly follows the radiation: correlation {together:.2f}, {config.follow_min:g} is the least for PV"
    return [_finding(signal, "follow", Severity.WARNING, text, grid, int(light.sum()))]


def _two_states(values: Values, signal: str, grid: Grid) -> list[Finding]:
    """Nearly all values in two narrow bands far from each other, and each of them often: a switch, not a wind."""
    known = values[np.isfinite(values)]
    if len(known) < _ROWS_MIN:
        return []
    low, high = np.quantile(known, [0.0001, 0.9999])
    if not high > low:
        return []
    counts, edges = np.histogram(known, bins=40, range=(low, high))
    first = int(counts.argmax())
    away = np.abs(np.arange(40) - first) >= 12
    second = int(np.where(away, counts, 0).argmax())
    near = [int(counts[max(0, peak - 1) : peak + 2].sum()) for peak in (first, second)]
    if sum(near) < 0.9 * len(known) or min(near) < 0.05 * len(known):
        return []
    states = " and ".join(f"{(edges[peak] + edges[peak + 1]) / 2:.2g}" for peak in sorted((first, second)))
    text = f"{sum(near) / len(known):.0%} of the values are near {states}: two states of a sensor, not a wind"
    return [_finding(signal, "states", Severity.WARNING, text, grid, len(known))]


def _finding(  # noqa: PLR0913, PLR0917  a finding has so many parts
    signal: str, rule: str, severity: Severity, reason: str, grid: Grid, count: int
) -> Finding:
    return Finding(
        signal=signal,
        rule=rule,
        severity=severity,
        reason=reason,
        from_s=grid.start_s,
        to_s=grid.at_s(count),
        count=count,
    )
