"""Step responses of a battery: which side contradicts, and that a doubt ends in a test."""

from collections.abc import Callable
from typing import Final

import pytest

from ringmain_agent.control.step_response import Powers, Responses, watch_responses
from ringmain_agent.snapshot import SentSetpoint
from support.sites import NOW_MS, battery, station

SITE: Final = station(batteries=(battery("battery", 4000.0, 900.0),))
LOAD_KW: Final = 500.0
Plant = Callable[[float], float]


def responses(
    setpoints_kw: list[float], *, own: Plant, at_pcc: Plant, load_kw: Callable[[int], float] = lambda _: LOAD_KW
) -> Responses:
    """Setpoints of each second, with `own` shown by the feed and `at_pcc` added to the load at the pcc."""
    state, moves, sent_kw = Responses(), list[SentSetpoint](), 0.0
    for cycle, wished_kw in enumerate(setpoints_kw):
        now_ms = NOW_MS + 1000 * cycle
        own_kw = own(sent_kw)
        powers = Powers(
            at_ms=now_ms,
            pcc_at_ms=now_ms,
            pcc_kw=load_kw(cycle) + at_pcc(sent_kw),
            known_kw=own_kw,
            battery_kw={"battery": own_kw},
        )
        state = watch_responses(state, powers, moves={"battery": moves}, site=SITE)
        asked_kw = 0.0 if "battery" in state.stopped else wished_kw
        if not moves or moves[-1].power_kw != asked_kw:
            moves.append(SentSetpoint(asked_kw, now_ms))
        sent_kw = asked_kw
    return state


def same(power_kw: float) -> float:
    return power_kw


def opposite(power_kw: float) -> float:
    return -power_kw


DISCHARGES: Final = [0.0] * 10 + [-300.0] * 50


@pytest.mark.parametrize(
    ("own", "at_pcc", "text"),
    [
        (same, opposite, "pcc_kw moves against it: it does the opposite of its setpoints"),
        (opposite, opposite, "it does the opposite of its setpoints; positive_direction of its output?"),
        (opposite, same, "its feed shows the opposite of its power; positive_direction of its feed?"),
    ],
)
def test_battery_of_the_wrong_sign_is_stopped_within_seconds_and_stays_so(own: Plant, at_pcc: Plant, text: str) -> None:
    early = responses(DISCHARGES[:25], own=own, at_pcc=at_pcc)
    assert early.stopped == {"battery"}
    late = responses([*DISCHARGES, *[100.0] * 100], own=own, at_pcc=at_pcc)
    assert late.stopped == {"battery"}
    assert late.opposed["battery"].text.startswith(text)
    assert late.opposed["battery"].confirmed


def test_battery_that_follows_is_never_doubted() -> None:
    state = responses([*DISCHARGES, *[400.0] * 30, *[0.0] * 30], own=same, at_pcc=same)
    assert state.opposed == {}


def test_battery_whose_own_power_does_not_move_is_not_judged() -> None:
    """It does not follow, which the check of setpoints says; nothing shows that it does the opposite."""
    assert responses(DISCHARGES, own=lambda _: 0.0, at_pcc=opposite).opposed == {}


def test_a_load_that_rises_with_the_setpoint_stops_the_battery_for_a_test_only() -> None:
    """The load rises while the battery discharges: the pcc seems to move against it, until the stop shows otherwise."""

    def rising_kw(cycle: int) -> float:
        return LOAD_KW + 150.0 * min(max(cycle - 11, 0), 4)

    state = responses(DISCHARGES + [-300.0] * 60, own=same, at_pcc=same, load_kw=rising_kw)
    assert state.stopped == frozenset()
    assert responses(DISCHARGES[:30], own=same, at_pcc=same, load_kw=rising_kw).opposed.keys() <= {"battery"}


def test_without_a_measured_pcc_steps_end_and_a_stop_stays() -> None:
    stopped = responses(DISCHARGES, own=opposite, at_pcc=opposite)
    after = watch_responses(stopped, None, moves={}, site=SITE)
    assert after.stopped == {"battery"}
    assert not after.steps
    assert not after.powers
