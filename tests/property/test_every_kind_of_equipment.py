"""Promises of every kind of equipment: a new one that passes here can be planned, regulated and explained."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringmain_agent.config.agent import CONFIG_TYPE
from ringmain_agent.equipment.kind import PccRoom
from ringmain_agent.equipment.period import Period
from ringmain_agent.equipment.registry import KINDS, AnyKind, kind_of
from ringmain_agent.planning.dispatch.blocks import BLOCKS
from ringmain_agent.snapshot import Measurements, Plan, SentSetpoint, Snapshot
from support import kinds
from support.sites import NOW_MS

EVERY_KIND = pytest.mark.parametrize("kind", [pytest.param(kind, id=name) for name, kind in KINDS.items()])
LAST = st.none() | st.builds(
    SentSetpoint, st.none() | st.floats(-5000, 5000), st.integers(NOW_MS - 900_000, NOW_MS + 100_000)
)


@EVERY_KIND
def test_has_a_table_a_block_and_a_nameplate_of_its_own(kind: AnyKind) -> None:
    assert kind.nameplate in BLOCKS
    assert kind.nameplate in kinds.NAMEPLATES
    assert {name for name, known in KINDS.items() if known is kind} <= set(CONFIG_TYPE.__struct_fields__)
    assert len({known.nameplate for known in KINDS.values()}) == len(set(KINDS.values()))


@EVERY_KIND
@given(data=st.data())
def test_names_its_feeds_fields_and_tolerance(kind: AnyKind, data: st.DataObject) -> None:
    nameplate = data.draw(kinds.NAMEPLATES[kind.nameplate])
    assert kind_of(nameplate) is kind
    kinds.check_names(kind, nameplate)


@EVERY_KIND
@given(data=st.data(), snapshot=kinds.snapshots())
def test_is_plausible_whatever_is_measured(kind: AnyKind, data: st.DataObject, snapshot: Snapshot) -> None:
    kinds.check_plausible(kind, data.draw(kinds.NAMEPLATES[kind.nameplate]), snapshot)


@EVERY_KIND
@given(data=st.data(), image=kinds.images(), last=LAST)
def test_range_lies_inside_nameplate_and_guard(
    kind: AnyKind, data: st.DataObject, image: Measurements, last: SentSetpoint | None
) -> None:
    kinds.check_range(kind, data.draw(kinds.NAMEPLATES[kind.nameplate]), image, last)


@EVERY_KIND
@given(data=st.data(), image=kinds.images(), period=kinds.periods(in_cycle=True), room=kinds.ROOMS)
def test_rule_of_the_cycle_lies_inside_the_range(
    kind: AnyKind, data: st.DataObject, image: Measurements, period: Period, room: PccRoom
) -> None:
    kinds.check_rule_of_the_cycle(kind, data.draw(kinds.NAMEPLATES[kind.nameplate]), image, period, room)


@EVERY_KIND
@given(data=st.data(), snapshot=kinds.snapshots(), start=kinds.periods(in_cycle=False), room=kinds.ROOMS)
def test_rule_of_a_schedule_stays_inside_the_nameplate(
    kind: AnyKind, data: st.DataObject, snapshot: Snapshot, start: Period, room: PccRoom
) -> None:
    kinds.check_rule_of_a_schedule(kind, data.draw(kinds.NAMEPLATES[kind.nameplate]), snapshot, start, room)


@EVERY_KIND
@given(data=st.data(), snapshot=kinds.snapshots(), period=kinds.periods(in_cycle=False), share=st.floats(0, 1))
def test_state_after_any_power_is_finite(
    kind: AnyKind, data: st.DataObject, snapshot: Snapshot, period: Period, share: float
) -> None:
    kinds.check_after(kind, data.draw(kinds.NAMEPLATES[kind.nameplate]), snapshot, period, share)


@EVERY_KIND
@given(data=st.data(), snapshot=kinds.snapshots(), plan=kinds.plans())
def test_costs_and_limits_are_finite(kind: AnyKind, data: st.DataObject, snapshot: Snapshot, plan: Plan) -> None:
    kinds.check_costs_and_limits(kind, data.draw(kinds.NAMEPLATES[kind.nameplate]), snapshot, plan)
