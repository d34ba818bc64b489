"""A meter with the wrong unit or sign is recognized among the others, and is used again only once it agrees with them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringmain_agent.control.meter_faults import (
    FAULTY_AFTER_S,
    SOUND_AFTER_S,
    MeterFault,
    WrongMeter,
    update_fault,
    wrong_meters,
)
from support.sites import NOW_MS, station

PCC_TURNED = WrongMeter("pcc_kw", "pcc_kw has the wrong sign: positive_direction?")


def residual_kw(parts_kw: dict[str, float]) -> float:
    return -sum(parts_kw.values())


@pytest.mark.parametrize(
    ("shown_kw", "signal", "text"),
    [
        ({"battery_kw": 100.0, "load_kw": 400.0, "pcc_kw": 500.0}, "pcc_kw", "wrong sign"),
        ({"battery_kw": 100.0, "load_kw": -400.0, "pcc_kw": -500.0}, "load_kw", "wrong sign"),
        ({"battery_kw": -100.0, "load_kw": 400.0, "pcc_kw": -500.0}, "battery_kw", "wrong sign"),
        ({"battery_kw": 100.0, "load_kw": 400.0, "pcc_kw": -500_000.0}, "pcc_kw", "too large"),
        ({"battery_kw": 100.0, "load_kw": 400_000.0, "pcc_kw": -500.0}, "load_kw", "too large"),
        ({"battery_kw": 100.0, "load_kw": 0.4, "pcc_kw": -500.0}, "load_kw", "too small"),
    ],
)
def test_the_meter_that_ends_the_residual_is_the_wrong_one(shown_kw: dict[str, float], signal: str, text: str) -> None:
    """The power at the pcc is negative here: the parts add up to nothing if all meters are right."""
    found = list(wrong_meters(shown_kw, residual_kw(shown_kw), station()))
    assert [meter.signal for meter in found] == [signal]
    assert text in found[0].text


def test_of_two_turned_meters_that_look_the_same_the_load_is_believed_while_it_is_drawn() -> None:
    for load_kw, faulty in ((500.0, "pcc_kw"), (-500.0, "load_kw")):
        parts_kw = {"load_kw": load_kw, "pcc_kw": load_kw}
        assert [meter.signal for meter in wrong_meters(parts_kw, residual_kw(parts_kw), station())] == [faulty]


def test_a_pattern_of_a_moment_is_no_fault() -> None:
    fault = update_fault(None, PCC_TURNED, now_ms=NOW_MS, tells=False)
    assert fault is not None
    assert not fault.faulty
    assert update_fault(fault, None, now_ms=NOW_MS + 1000, tells=True) is None


def faulty() -> MeterFault:
    fault = None
    for now_ms in (NOW_MS, NOW_MS + round(1000 * FAULTY_AFTER_S)):
        fault = update_fault(fault, PCC_TURNED, now_ms=now_ms, tells=False)
    assert fault is not None
    assert fault.faulty
    return fault


@given(tells=st.lists(st.booleans(), max_size=200))
def test_a_faulty_meter_is_used_again_only_after_it_agreed_without_a_break(tells: list[bool]) -> None:
    """A power near 0 shows no wrong sign: it proves nothing."""
    fault: MeterFault | None = faulty()
    now_ms, agreed_s = NOW_MS + 10_000, 0.0
    for tell in tells:
        fault = update_fault(fault, None, now_ms=now_ms, tells=tell)
        if fault is None:
            assert agreed_s >= SOUND_AFTER_S
            return
        agreed_s = agreed_s + 1 if tell else 0.0
        now_ms += 1000
    assert agreed_s <= SOUND_AFTER_S + 1


def test_another_pattern_replaces_a_suspicion_and_no_fault() -> None:
    load = WrongMeter("load_kw", "load_kw has the wrong sign: positive_direction?")
    suspicion = update_fault(None, PCC_TURNED, now_ms=NOW_MS, tells=False)
    replaced = update_fault(suspicion, load, now_ms=NOW_MS + 1000, tells=False)
    assert replaced is not None
    assert (replaced.signal, replaced.since_ms) == ("load_kw", NOW_MS + 1000)
    kept = update_fault(faulty(), load, now_ms=NOW_MS + 9000, tells=False)
    assert kept is not None
    assert (kept.signal, kept.faulty) == ("pcc_kw", True)
