"""Readings in, closed steps out; each once."""

import math
import struct

import pytest

from ringmain_agent.inputs.step_history import UNKNOWN_AGE_MS, Receipt, StepHistory
from ringmain_protocol.messages import Quality
from ringmain_protocol.steps import Reading, StepValue

STEP_MS = 900_000
T0 = 1_606_000_500_000 - 1_606_000_500_000 % STEP_MS


def history(kept: int = 8) -> StepHistory:
    return StepHistory({"load_kw": 900.0, "pv_kw": 900.0}, step_s=900, steps_kept=kept)


def quarter_hours(first: int, count: int, signal: str = "load_kw") -> list[Reading]:
    return [Reading(signal, T0 + STEP_MS * i, float(i)) for i in range(first, first + count)]


def test_steps_close_in_order_with_the_mean_of_their_readings() -> None:
    steps = history()
    steps.accept([Reading("load_kw", T0, 1.0), Reading("load_kw", T0 + 450_000, 3.0)], now_ms=T0 + 450_000)
    assert steps.close_steps(now_ms=T0 + STEP_MS - 1) == []
    assert steps.close_steps(now_ms=T0 + STEP_MS) == [StepValue("load_kw", T0, 2.0, Quality.GOOD)]
    assert steps.close_steps(now_ms=T0 + STEP_MS) == []


def test_one_coarse_tick_closes_every_step_in_it() -> None:
    steps = history()
    taken, repeated = steps.accept(quarter_hours(0, 6), now_ms=T0 + 6 * STEP_MS)
    assert (len(taken), repeated) == (6, 0)
    closed = steps.close_steps(now_ms=T0 + 6 * STEP_MS)
    assert [s.value for s in closed] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert struct.unpack("<3f", steps.window("load_kw", 3)) == (3.0, 4.0, 5.0)


def test_a_reading_is_taken_once() -> None:
    steps = history()
    steps.accept(quarter_hours(0, 3), now_ms=T0 + 3 * STEP_MS)
    taken, repeated = steps.accept(quarter_hours(0, 4), now_ms=T0 + 4 * STEP_MS)
    assert ([r.value for r in taken], repeated) == ([3.0], 3)
    steps.close_steps(now_ms=T0 + 4 * STEP_MS)
    assert steps.accept(quarter_hours(0, 4), now_ms=T0 + 4 * STEP_MS) == ([], 4)


def test_a_reading_out_of_order_still_counts_in_the_open_step() -> None:
    steps = history()
    steps.accept([Reading("load_kw", T0, 1.0), Reading("load_kw", T0 + 600_000, 4.0)], now_ms=T0 + 600_000)
    taken, _ = steps.accept([Reading("load_kw", T0 + 300_000, 1.0)], now_ms=T0 + 600_000)
    assert len(taken) == 1
    assert steps.close_steps(now_ms=T0 + STEP_MS)[0].value == 2.0


def test_an_implausible_time_is_recorded_and_disturbs_nothing() -> None:
    steps = history()
    steps.accept([Reading("load_kw", T0, 1.0)], now_ms=T0)
    future = Reading("load_kw", T0 + 10**10, 99.0, Quality.SUSPECT)
    assert steps.accept([future], now_ms=T0) == ([future], 0)
    assert steps.newest["load_kw"].value == 1.0
    assert steps.close_steps(now_ms=T0 + STEP_MS)[0].value == 1.0


def test_a_gap_is_missing_and_not_zero() -> None:
    steps = history()
    steps.accept([Reading("load_kw", T0, 1.0)], now_ms=T0)
    closed = steps.close_steps(now_ms=T0 + 3 * STEP_MS)
    assert [s.value for s in closed] == [1.0, None, None]
    assert closed[1].quality == Quality.MISSING
    assert steps.closed_value("load_kw", T0) == 1.0
    assert steps.closed_value("load_kw", T0 + STEP_MS) is None


def test_after_a_restart_the_open_step_closes_with_the_same_value() -> None:
    before, after = history(), history()
    readings = [Reading("load_kw", T0, 1.0), Reading("load_kw", T0 + 450_000, 3.0)]
    before.accept(readings, now_ms=T0 + 450_000)
    after.restore(open_start_ms=before.open_start_ms, newest=before.newest.values(), readings=readings)
    assert before.close_steps(now_ms=T0 + STEP_MS) == after.close_steps(now_ms=T0 + STEP_MS)


def test_remembered_steps_stand_where_they_stood() -> None:
    steps = history(kept=4)
    steps.restore(open_start_ms=T0, newest=[], readings=[])
    steps.restore_steps([("load_kw", T0 - STEP_MS, 5.0), ("load_kw", T0 - 3 * STEP_MS, 3.0), ("load_kw", T0, 9.0)])
    assert steps.closed_value("load_kw", T0 - STEP_MS) == 5.0
    assert steps.closed_value("load_kw", T0 - 3 * STEP_MS) == 3.0
    steps.accept([Reading("pv_kw", T0, 0.0)], now_ms=T0 + STEP_MS)
    steps.close_steps(now_ms=T0 + STEP_MS)  # load_kw is not heard of, and moves on with the others
    assert steps.closed_value("load_kw", T0 - STEP_MS) == 5.0


def test_a_long_time_switched_off_is_not_told_step_by_step() -> None:
    steps = history(kept=4)
    steps.accept([Reading("load_kw", T0, 1.0)], now_ms=T0)
    assert len(steps.close_steps(now_ms=T0 + 1000 * STEP_MS)) == 4


def test_a_gateway_that_boots_in_1970_keeps_its_history_until_it_knows_the_time() -> None:
    steps = history()
    steps.accept(quarter_hours(0, 3), now_ms=T0 + 3 * STEP_MS)
    steps.close_steps(now_ms=T0 + 3 * STEP_MS)
    for second in range(100):
        now_ms = 1000 * second
        assert steps.accept([Reading("load_kw", now_ms, 50.0)], now_ms=now_ms)[1] == 0
        assert steps.close_steps(now_ms=now_ms) == []
        assert steps.newest["load_kw"].value == 50.0  # the regulator has it
    steps.accept(quarter_hours(3, 1), now_ms=T0 + 4 * STEP_MS)
    assert [s.value for s in steps.close_steps(now_ms=T0 + 4 * STEP_MS)] == [3.0]
    assert steps.closed_value("load_kw", T0) == 0.0


def test_a_clock_that_stays_in_the_past_is_believed_in_the_end() -> None:
    steps = history()
    steps.accept(quarter_hours(0, 3), now_ms=T0 + 3 * STEP_MS)
    steps.close_steps(now_ms=T0 + 3 * STEP_MS)
    closed = []
    for quarter in range(8):
        now_ms = STEP_MS * quarter
        steps.accept([Reading("load_kw", now_ms, 50.0)], now_ms=now_ms)
        closed += steps.close_steps(now_ms=now_ms)
    assert [s.value for s in closed][-2:] == [50.0, 50.0]


class Gateway:
    """A gateway that hears a feed every ten seconds, with a clock that can be set. Untimed readings get its clock."""

    def __init__(self) -> None:
        self.steps = StepHistory({"load_kw": 900.0, "timed_kw": 900.0}, step_s=900, steps_kept=8, timed={"timed_kw"})
        self.now_ms, self.now_s = T0, 0.0
        self.closed: list[StepValue] = []

    def run(
        self, length_s: int, value: float, *, signal: str = "load_kw", sender_ms: int = 0, in_doubt: bool = False
    ) -> None:
        """Time goes on."""
        for _ in range(length_s // 10):
            self.now_ms, self.now_s = self.now_ms + 10_000, self.now_s + 10
            at_ms = T0 + round(1000 * self.now_s) + sender_ms if signal == "timed_kw" else self.now_ms
            receipts = [Receipt(self.now_ms, self.now_s)]
            self.steps.accept([Reading(signal, at_ms, value)], now_ms=self.now_ms, receipts=receipts, in_doubt=in_doubt)
            self.closed += self.steps.close_steps(now_ms=self.now_ms, in_doubt=in_doubt)

    def set_clock(self, moved_s: int, *, in_doubt: bool = False) -> None:
        """The clock is set."""
        self.now_ms += 1000 * moved_s
        self.steps.move_clock(1000 * moved_s, now_ms=self.now_ms, in_doubt=in_doubt)

    def age_s(self, signal: str) -> float:
        """Age of the newest value."""
        return (self.now_ms - self.steps.heard_ms[signal]) / 1000


@pytest.mark.parametrize("moved_s", [-50 * 365 * 86_400, -3600, -299, -120, -45, -10, 10, 45, 299, 3600, 50 * 365 * 86_400])
def test_a_clock_that_is_set_changes_neither_the_newest_value_nor_its_age(moved_s: int) -> None:
    gateway = Gateway()
    gateway.run(300, 1.0)
    gateway.set_clock(moved_s)
    assert gateway.age_s("load_kw") == 0
    gateway.run(10, 2.0)
    assert (gateway.steps.newest["load_kw"].value, gateway.age_s("load_kw")) == (2.0, 0)
    gateway.now_ms += 20_000
    assert gateway.age_s("load_kw") == 20


@pytest.mark.parametrize("moved_s", [-300, -45, 45, 300])
def test_a_step_in_which_the_clock_moved_is_the_mean_of_what_is_stamped_in_it_and_suspect(moved_s: int) -> None:
    gateway = Gateway()
    gateway.run(450, 1.0)
    gateway.set_clock(moved_s)
    gateway.run(2700, 3.0)
    first, second, *_ = [step for step in gateway.closed if step.signal == "load_kw"]
    assert (first.start_ms, first.quality, second.quality) == (T0, Quality.SUSPECT, Quality.GOOD)
    assert first.value is not None
    assert 1.0 < first.value < 3.0
    assert second.value == 3.0


def test_a_clock_that_is_wrong_for_some_minutes_leaves_no_trace_in_the_steps() -> None:
    """Whatever it showed meanwhile: no step closes early, and nothing stamped then is left for later."""
    gateway = Gateway()
    gateway.run(450, 1.0)
    for moved_s in (3600, -86_400, 40 * 86_400):
        gateway.set_clock(moved_s, in_doubt=True)
        gateway.run(60, 99.0, in_doubt=True)
        gateway.set_clock(-moved_s)
    gateway.run(6 * 900, 1.0)
    assert [step.start_ms for step in gateway.closed] == [T0 + STEP_MS * i for i in range(len(gateway.closed))]
    assert {step.value for step in gateway.closed} == {1.0}
    assert [step.quality for step in gateway.closed[:2]] == [Quality.SUSPECT, Quality.GOOD]


@pytest.mark.parametrize("sender_ms", [-400_000, 90_000, -50 * 365 * 86_400_000])
def test_a_value_counts_from_its_receipt_whatever_the_time_of_its_sender(sender_ms: int) -> None:
    gateway = Gateway()
    gateway.run(100, 1.0, signal="timed_kw", sender_ms=sender_ms)
    gateway.run(10, 2.0, signal="timed_kw", sender_ms=sender_ms)
    assert (gateway.steps.newest["timed_kw"].value, gateway.age_s("timed_kw")) == (2.0, 0)


def test_a_late_value_is_as_old_as_it_is_late_and_does_not_replace_a_punctual_one() -> None:
    gateway = Gateway()
    gateway.run(700, 1.0, signal="timed_kw")
    late, at_once = Reading("timed_kw", gateway.now_ms - 600_000 + 1, 9.0), Receipt(gateway.now_ms, gateway.now_s)
    gateway.steps.accept([late], now_ms=gateway.now_ms, receipts=[at_once])
    assert gateway.steps.newest["timed_kw"].value == 1.0
    gateway.run(10, 9.0, signal="timed_kw", sender_ms=-600_001)
    assert gateway.steps.newest["timed_kw"].value == 9.0  # it is all that there is
    assert gateway.age_s("timed_kw") == pytest.approx(600, abs=1)


def test_after_a_restart_a_value_is_as_old_as_a_trusted_clock_says_or_too_old() -> None:
    for trusted, at_ms, age_s in ((True, T0 - 60_000, 60), (True, T0 + 60_000, None), (False, T0 - 60_000, None)):
        gateway = Gateway()
        gateway.steps.restore(open_start_ms=T0, newest=[Reading("load_kw", at_ms, 1.0)], readings=[])
        gateway.steps.accept([], now_ms=T0, clock_trusted=trusted)
        assert gateway.age_s("load_kw") == (age_s or UNKNOWN_AGE_MS / 1000)


def test_an_old_retained_value_is_not_new_because_it_comes_now() -> None:
    for trusted in (True, False):
        gateway = Gateway()
        receipt = Receipt(T0, 0.0, retained=True)
        reading = Reading("timed_kw", T0 - 3_600_000, 1.0)
        gateway.steps.accept([reading], now_ms=T0, receipts=[receipt], clock_trusted=trusted)
        assert gateway.age_s("timed_kw") >= 3600


def test_a_window_ends_where_the_plan_begins() -> None:
    steps = history()
    steps.accept(quarter_hours(0, 5), now_ms=T0 + 4 * STEP_MS)
    steps.close_steps(now_ms=T0 + 4 * STEP_MS)
    assert struct.unpack("<3f", steps.window("load_kw", 3, end_ms=T0 + 3 * STEP_MS)) == (0.0, 1.0, 2.0)
    two, three, *later = struct.unpack("<4f", steps.window("load_kw", 4, end_ms=T0 + 6 * STEP_MS))
    assert (two, three) == (2.0, 3.0)
    assert all(math.isnan(value) for value in later)
    assert all(math.isnan(v) for v in struct.unpack("<3f", steps.window("load_kw", 3, end_ms=T0 + 2000 * STEP_MS)))
    assert all(math.isnan(v) for v in struct.unpack("<3f", steps.window("load_kw", 3, end_ms=T0 - 2000 * STEP_MS)))
