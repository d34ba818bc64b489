"""A substation whose clock jumps by 10 seconds to 50 years, both ways, and at a restart, while the load changes.

The calculations of the agent run in closed loop with a battery that follows at once: the limit at the pcc holds within five
seconds, steps close in order with values that were measured, sequences rise, the peak of the month is kept, and the
transformer is as hot as it really is.
"""

from typing import Final, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from ringmain_agent.config.output import Output
from ringmain_agent.control.limits import limit_setpoints
from ringmain_agent.control.regulate import RegulatorState, regulate, remember
from ringmain_agent.control.restored_state import move_regulator_state, restored_regulator_state
from ringmain_agent.control.settlement_period import SettlementPeriod
from ringmain_agent.equipment import transformer_thermal as thermal
from ringmain_agent.gateway.kept import decode_kept, encode_kept
from ringmain_agent.inputs.equipment_state import EquipmentState
from ringmain_agent.inputs.process_image import ProcessImage
from ringmain_agent.inputs.series_and_envelopes import SeriesAndEnvelopes
from ringmain_agent.inputs.step_history import Receipt, StepHistory
from ringmain_agent.inputs.trusted_time import TrustedTime, next_time
from ringmain_agent.outputs.setpoint_sender import CycleSetpoints, SetpointSender
from ringmain_agent.site.nameplates import Transformer
from ringmain_agent.snapshot import Measurements
from ringmain_protocol.messages import Fallback
from ringmain_protocol.steps import Reading, StepValue
from support.sites import battery, station

T0_MS: Final = 1_790_000_100_000
LIMIT_KW: Final = 1000.0
OVER_S: Final = 5
CYCLES: Final = 60
STEP_S: Final = 20
SITE: Final = replace(
    station(import_limit_kw=LIMIT_KW, margin_kw=10.0, batteries=(battery(capacity_kwh=5000.0, power_kw=600.0),)),
    transformers=(Transformer(name="t1", rated_power_kva=1000.0),),
)
SIGNALS: Final = ("load_kw", "pcc_kw", "battery_kw", "battery_soc_kwh")
THERMAL: Final = thermal.constants(SITE.transformers[0])
OUTPUTS: Final = {"battery": Output(topic="battery/set")}
YEAR_S: Final = 365 * 86_400


class Event(NamedTuple):
    """What happens after a cycle: the clock is set, the program restarts, the load changes."""

    set_s: int = 0
    restarts: bool = False
    synchronized: bool = False
    load_kw: float | None = None


class Substation:
    """The agent's calculations around a real battery, load and transformer."""

    def __init__(self) -> None:
        self.now_s, self.now_ms = 500.0, T0_MS
        self.load_kw, self.battery_kw = 700.0, 0.0
        self.real = thermal.steady_state(0.7, 20.0, THERMAL)
        self.time = TrustedTime()
        self.regulator = RegulatorState(period=SettlementPeriod(billing_month="2026-09", billing_peak_kw=800.0))
        self.kept = encode_kept(EquipmentState())
        self.closed: list[StepValue] = []
        self.sequence = 0
        self.over_s = self.over_most_s = 0
        self.begin(None)

    def begin(self, before: StepHistory | None) -> None:
        """Start the program with what is kept."""
        self.history = StepHistory(dict.fromkeys(SIGNALS, 900.0), step_s=STEP_S, steps_kept=200)
        if before is not None:
            readings = [reading for opened in before.open_readings.values() for reading in opened]
            self.history.restore(open_start_ms=before.open_start_ms, newest=before.newest.values(), readings=readings)
        equipment_state = decode_kept(self.kept, EquipmentState)
        self.image = ProcessImage(
            SITE, self.history, SeriesAndEnvelopes(), equipment_state=equipment_state, stale_after_s={"pcc_kw": 5.0}
        )
        self.regulator = decode_kept(encode_kept(self.regulator), RegulatorState)
        self.sender = SetpointSender(OUTPUTS, SITE, last_sequence=self.sequence)
        self.time = TrustedTime(last_trusted_ms=self.time.last_trusted_ms)

    def cycle(self, *, synchronized: bool) -> None:
        """One second."""
        self.now_s, self.now_ms = self.now_s + 1, self.now_ms + 1000
        self.real = thermal.after(self.real, (self.load_kw + self.battery_kw) / 1000, 20.0, 1 / 60, THERMAL)
        starts = self.time.offset_ms is None
        self.time = next_time(self.time, now_ms=self.now_ms, now_s=self.now_s, synchronized=synchronized)
        trusted, in_doubt, moved_ms = self.time.trusted, not self.time.stamps_steps, self.time.moved_ms
        if starts:
            self.regulator = restored_regulator_state(self.regulator, now_ms=self.now_ms, clock_trusted=trusted)
            self.image.restored(self.now_ms, clock_trusted=trusted)
        elif moved_ms:
            self.regulator = move_regulator_state(self.regulator, moved_ms)
            self.image.move_clock(moved_ms)
            self.sender.move_clock(moved_ms)
            self.history.move_clock(moved_ms, now_ms=self.now_ms, in_doubt=in_doubt)
        self.measure(trusted=trusted, in_doubt=in_doubt)
        self.closed += self.history.close_steps(now_ms=self.now_ms, in_doubt=in_doubt)
        self.control(self.image.take(self.now_ms, self.sender.not_followed, clock_trusted=trusted))
        self.kept = encode_kept(self.image.equipment_state)

    def measure(self, *, trusted: bool, in_doubt: bool) -> None:
        """Each feed sends its value."""
        values = (self.load_kw, self.load_kw + self.battery_kw, self.battery_kw, 2500.0)
        readings = [Reading(signal, self.now_ms, value) for signal, value in zip(SIGNALS, values, strict=True)]
        receipts = [Receipt(self.now_ms, self.now_s)] * len(readings)
        self.history.accept(readings, now_ms=self.now_ms, receipts=receipts, clock_trusted=trusted, in_doubt=in_doubt)

    def control(self, image: Measurements) -> None:
        """Setpoints, which the battery follows at once."""
        result, regulator = regulate(image, None, self.regulator, SITE)
        limited = limit_setpoints(result.setpoints, site=SITE, measurements=image, previous=regulator.sent).power_kw
        before = self.sequence
        setpoints = CycleSetpoints(limited, {}, Fallback.RULE, "")
        self.sender.send(setpoints, image.newest, now_ms=self.now_ms, publish=lambda _topic, _payload: True)
        self.sequence = self.sender.last_sequence
        assert self.sequence > before
        in_force_kw = self.sender.in_force_kw(self.now_ms)
        self.regulator = remember(regulator, in_force_kw, self.now_ms)
        self.battery_kw = in_force_kw["battery"] or 0.0
        self.over_s = self.over_s + 1 if self.load_kw + self.battery_kw > LIMIT_KW else 0
        self.over_most_s = max(self.over_most_s, self.over_s)

    def happens(self, event: Event) -> None:
        """The clock is set, the load changes, the program restarts."""
        self.now_ms += 1000 * event.set_s
        self.load_kw = self.load_kw if event.load_kw is None else event.load_kw
        if event.restarts:
            self.begin(self.history)


jumps = st.sampled_from([0, 0, 0, 10, -10, 45, -45, 120, -299, 3600, -3600, 40 * 86_400, -86_400, 50 * YEAR_S, -50 * YEAR_S])
events = st.builds(
    Event,
    set_s=jumps | st.integers(-50 * YEAR_S, 50 * YEAR_S),
    restarts=st.sampled_from([False, False, False, True]),
    synchronized=st.booleans(),
    load_kw=st.none() | st.floats(600.0, 1500.0),
)


@settings(max_examples=25)
@given(st.dictionaries(st.integers(3, CYCLES), events, max_size=8), st.booleans())
def test_a_clock_that_jumps_opens_no_limit(happening: dict[int, Event], synchronized: bool) -> None:  # noqa: FBT001
    station = Substation()
    loads_kw = [700.0, *(event.load_kw for event in happening.values() if event.load_kw is not None)]
    for number in range(CYCLES):
        if number in happening:
            station.happens(happening[number])
            synchronized = happening[number].synchronized
        station.cycle(synchronized=synchronized)
    assert station.over_most_s <= OVER_S
    load_steps = [step for step in station.closed if step.signal == "load_kw"]
    starts_ms = [step.start_ms for step in load_steps]
    assert starts_ms == sorted(set(starts_ms))
    values = [step.value for step in load_steps if step.value is not None]
    assert all(min(loads_kw) - 0.1 <= value <= max(loads_kw) + 0.1 for value in values)
    period = station.regulator.period
    peaks = [(period.billing_month, period.billing_peak_kw)]
    peaks += [(peak.month, peak.power_kw) for peak in period.other_peaks.get("", ())]
    assert max(power_kw for month, power_kw in peaks if month == "2026-09") >= 800.0
    tracked = station.image.equipment_state.thermal["t1"]
    if not any(event.restarts for event in happening.values()):  # a gap by a wrong clock that nothing contradicts is a gap
        assert thermal.hot_spot_degc(station.real) - 1.0 <= thermal.hot_spot_degc(tracked)
    assert thermal.hot_spot_degc(tracked) <= thermal.hot_spot_degc(thermal.steady_state(1.5, 20.0, THERMAL))
