"""What goes into the two pure functions and comes out of `plan`: frozen Structs that also cross the planner's pipe.

No NumPy here: the main process holds step values as packed float32. Instants are int64 milliseconds UTC.
"""

from msgspec import Struct

from ringmain_protocol.messages import AtMs, Fallback, Quality


class Snapshot(Struct, frozen=True, kw_only=True):
    """All that a plan is made from.

    `issued_at_ms` is the START of the first planned step. `history` holds, for each signal, step values as little-endian
    float32, NaN where missing, the last one for the step that ended at `issued_at_ms`. `known_future` holds the values of
    each series for the planned steps, `None` where missing. The limits are those of the site, narrowed by envelopes.
    """

    issued_at_ms: int
    step_s: int
    history: dict[str, bytes]
    known_future: dict[str, list[float | None]]
    import_limit_kw: list[float]
    export_limit_kw: list[float]
    soc_kwh: dict[str, float | None]
    billing_peak_kw: float = 0.0
    models: dict[str, str] = {}
    """Path of the active ONNX file of each signal that has one."""


class ForecastResult(Struct, frozen=True, kw_only=True):
    """Quantiles of one signal, `values[lead][quantile]`; `release` 0 is persistence and `reason` says why."""

    signal: str
    quantiles: list[float]
    values: list[list[float]]
    release: int
    reason: str = ""


class Plan(Struct, frozen=True, kw_only=True):
    """What shall happen in the steps from `issued_at_ms` on; energies are at the END of a step.

    `power_kw` of a PV plant is its planned output; `curtailed_kw` is what of its median forecast the plan gives away.
    Without any forecast `pcc_kw` is empty. `reserve_kwh` is the energy that the plan keeps for a load at its upper quantile.
    """

    issued_at_ms: int
    step_s: int
    fallback: Fallback
    reason: str = ""
    forecasts: list[ForecastResult] = []
    power_kw: dict[str, list[float]] = {}
    curtailed_kw: dict[str, list[float]] = {}
    soc_kwh: dict[str, list[float]] = {}
    reserve_kwh: dict[str, list[float]] = {}
    pcc_kw: list[float] = []
    solve_ms: float = 0.0
    plan_ms: float = 0.0


class Measured(Struct, frozen=True):
    """Newest value of a signal; `at_ms` is the START of the interval it describes."""

    value: float | None
    at_ms: AtMs
    quality: int = Quality.GOOD


class Measurements(Struct, frozen=True, kw_only=True):
    """What a cycle works on: the newest value of each signal, and the limits in force now (site and envelopes)."""

    newest: dict[str, Measured]
    import_limit_kw: float
    export_limit_kw: float

    def fresh(self, signal: str, now_ms: int, stale_after_s: float) -> float | None:
        """The newest value, unless it is missing, too old, or from more than a minute in the future."""
        measured = self.newest.get(signal)
        if measured is None or measured.value is None or measured.quality == Quality.MISSING:
            return None
        if not -60_000 <= now_ms - measured.at_ms <= 1000 * stale_after_s:
            return None
        return measured.value


class Sent(Struct, frozen=True):
    """The last setpoint that went to an equipment, and when; `None` released it."""

    power_kw: float | None
    at_ms: AtMs
