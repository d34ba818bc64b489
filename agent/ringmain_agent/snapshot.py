"""Inputs of the two pure functions `plan` and `regulate`, and the plan: frozen Structs that also cross the planner's pipe.

No NumPy here: the main process holds step values as packed float32. Instants are int64 milliseconds UTC.
"""

import math
from collections.abc import Iterable
from typing import Final

from msgspec import Struct, field

from ringmain_protocol.messages import AtMs, Fallback, Quality, ReasonCode

MEASUREMENT_AHEAD_MAX_MS: Final = 60_000
"""A measurement further ahead of the clock does not count as current."""


class Reason(Struct, frozen=True):
    """A problem: its kind, a text for people, and the equipment or signal, if there is one.

    Two reasons of one kind about one equipment or signal are the same problem, even if the numbers in their texts differ.
    """

    code: ReasonCode
    text: str
    about: str = ""

    @property
    def problem(self) -> tuple[ReasonCode, str]:
        """Identity of the problem; equal for all reasons that name it."""
        return self.code, self.about


def distinct(reasons: Iterable[Reason]) -> list[Reason]:
    """Each problem once, by the first of its reasons."""
    first: dict[tuple[ReasonCode, str], Reason] = {}
    for reason in reasons:
        first.setdefault(reason.problem, reason)
    return list(first.values())


def new_problems(before: Iterable[Reason], after: Iterable[Reason]) -> list[Reason]:
    """Reasons of new problems; a problem is not new if only the numbers in its text changed."""
    known = {reason.problem for reason in before}
    return [reason for reason in distinct(after) if reason.problem not in known]


def reason_text(reasons: Iterable[Reason]) -> str:
    """The reasons as one text for people, each problem once."""
    return "; ".join(reason.text for reason in distinct(reasons))


class ForecastResult(Struct, frozen=True, kw_only=True):
    """Quantiles of one signal, `values[lead][quantile]`; `release` 0 means persistence, for the `reason` given."""

    signal: str
    quantiles: list[float]
    values: list[list[float]]
    release: int
    reason: str = ""


class ChargingSession(Struct, frozen=True, kw_only=True):
    """A vehicle at a charging station, or expected there, with the energy that it needs between two instants."""

    from_ms: AtMs
    to_ms: AtMs
    energy_kwh: float


class LoadUsage(Struct, frozen=True, kw_only=True):
    """A load's energy, run time and starts in its current time window; since `since_ms` it is on or off."""

    on: bool = False
    since_ms: AtMs = 0
    run_h: float = 0.0
    starts: int = 0
    drawn_kwh: float = 0.0


class ThermalState(Struct, frozen=True):
    """Temperatures of a transformer: top oil, and the two terms of the hot-spot rise over it.

    Source: IEC 60076-7:2018, difference equations; hot spot = top oil + `winding_k` - `oil_lag_k`.
    """

    top_oil_degc: float
    winding_k: float
    oil_lag_k: float


class Snapshot(Struct, frozen=True, kw_only=True):
    """Inputs of a plan.

    `issued_at_ms` is the START of the first planned step. `history` holds, for each signal, step values as little-endian
    float32, NaN where missing, the last one for the step that ended at `issued_at_ms`. `known_future` holds the values of
    each series for the planned steps, `None` where missing. The limits are those of the site, narrowed by envelopes; an
    envelope that may be breached at a price sets `requested_import_kw`, `requested_export_kw` and `breach_price_per_kwh`
    instead. Unknown measurements are `None` or absent. `unresponsive_kw` holds the power of each equipment that does not
    follow its setpoints. `forecasts` replace those of the models.
    """

    issued_at_ms: int
    step_s: int
    history: dict[str, bytes]
    known_future: dict[str, list[float | None]]
    import_limit_kw: list[float]
    export_limit_kw: list[float]
    soc_kwh: dict[str, float | None]
    controllable_import_kw: list[float | None] = []
    """Limit of the controllable equipment together, by its net power; likewise for export."""
    controllable_export_kw: list[float | None] = []
    requested_import_kw: list[float | None] = field(default_factory=list, name="wished_import_kw")
    requested_export_kw: list[float | None] = field(default_factory=list, name="wished_export_kw")
    breach_price_per_kwh: float = field(default=0.0, name="breach_per_kwh")
    billing_peak_kw: dict[str, float] = {}
    """Peak of the billing period so far, by the name of the demand charge."""
    runs: dict[str, LoadUsage] = {}
    visits: dict[str, list[ChargingSession]] = {}
    temperature_degc: dict[str, float | None] = {}
    """Of thermal loads."""
    thermal: dict[str, ThermalState] = {}
    """Of transformers."""
    positions: dict[str, int | None] = {}
    operations_left: dict[str, int] = {}
    voltage_pu: float | None = None
    pcc_kw: float | None = None
    pcc_kvar: float | None = None
    unresponsive_kw: dict[str, float] = field(default_factory=dict, name="held_kw")
    models: dict[str, str] = {}
    """Path of the active ONNX file of each signal that has one."""
    forecasts: list[ForecastResult] = []


class Plan(Struct, frozen=True, kw_only=True):
    """Schedule of the steps from `issued_at_ms` on; energies are at the END of a step.

    `power_kw` of a PV plant is its planned output; `curtailed_kw` is the part of its median forecast that the plan curtails.
    Without any forecast `pcc_kw` is empty. `reserve_kwh` is the energy reserved for a load at its upper quantile.
    """

    issued_at_ms: int
    step_s: int
    fallback: Fallback
    reasons: list[Reason] = []
    forecasts: list[ForecastResult] = []
    power_kw: dict[str, list[float]] = {}
    curtailed_kw: dict[str, list[float]] = {}
    soc_kwh: dict[str, list[float]] = {}
    reserve_kwh: dict[str, list[float]] = {}
    pcc_kw: list[float] = []
    pcc_kvar: list[float] = []
    positions: dict[str, list[int]] = {}
    voltage_pu: list[float] = []
    temperature_degc: dict[str, list[float]] = {}
    loading_pu: dict[str, list[float]] = {}
    top_oil_degc: dict[str, list[float]] = {}
    hot_spot_degc: dict[str, list[float]] = {}
    gap: float = 0.0
    """Upper bound of the relative extra cost over the optimum; above 0 for an incumbent."""
    solve_ms: float = 0.0
    plan_ms: float = 0.0

    @property
    def reason(self) -> str:
        """The reasons as one text for people."""
        return reason_text(self.reasons)


class Measured(Struct, frozen=True):
    """Newest value of a signal; `at_ms` is its receipt by the present clock, less its lateness: its age survives a jump."""

    value: float | None
    at_ms: AtMs
    quality: int = Quality.GOOD


class Measurements(Struct, frozen=True, kw_only=True):
    """The process image: newest value of each signal, limits in force (site and envelopes), and state of the equipment.

    Taken once a cycle, at `now_ms`; all stages of the cycle work on it. The other fields are those of a Snapshot.
    """

    now_ms: AtMs
    clock_trusted: bool = True
    """False while `now_ms` is in doubt, or not confirmed yet: no limit widens by the time alone."""
    stale_after_s: float
    feed_stale_after_s: dict[str, float] = {}
    """Of signals whose feed has its own."""
    newest: dict[str, Measured]
    replaced: dict[str, Measured] = {}
    """Values of feeds in whose place `newest` holds a value calculated since."""
    import_limit_kw: float
    export_limit_kw: float
    controllable_import_kw: float | None = None
    controllable_export_kw: float | None = None
    requested_import_kw: float | None = None
    requested_export_kw: float | None = None
    runs: dict[str, LoadUsage] = {}
    thermal: dict[str, ThermalState] = {}
    load_least_kw: float | None = None
    load_most_kw: float | None = None
    """Uncontrolled load of the last seven days at this hour; `None` if nothing is known."""
    ambient_degc: dict[str, float] = {}
    """Of the air around transformers and thermal loads, by their name."""
    operations_left: dict[str, int] = {}
    unresponsive_kw: dict[str, float] = field(default_factory=dict, name="held_kw")

    def fresh(self, signal: str) -> float | None:
        """The newest value, a finite number; `None` if it is missing, stale, or more than a minute ahead of the clock."""
        measured = self.newest.get(signal)
        if measured is None or measured.value is None or measured.quality == Quality.MISSING:
            return None
        stale_after_s = self.feed_stale_after_s.get(signal, self.stale_after_s)
        if not -MEASUREMENT_AHEAD_MAX_MS <= self.now_ms - measured.at_ms <= 1000 * stale_after_s:
            return None
        return measured.value if math.isfinite(measured.value) else None


class SentSetpoint(Struct, frozen=True):
    """The last setpoint that went to an equipment, and when; `None` released it."""

    power_kw: float | None
    at_ms: AtMs
