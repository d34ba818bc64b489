"""Every kind of equipment: nameplates of each, states and measurements of any worth, and the checks that each must pass."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec.structs import replace

from ringmain_agent.config.feed import units_of
from ringmain_agent.control.limits import limit_setpoints
from ringmain_agent.control.rule import share_room
from ringmain_agent.equipment.interval import ROUNDING
from ringmain_agent.equipment.kind import PccRoom, PlanReview
from ringmain_agent.equipment.period import Period
from ringmain_agent.equipment.registry import AnyKind
from ringmain_agent.site.grid_connection import Busbar
from ringmain_agent.site.hours import LocalHours
from ringmain_agent.site.nameplates import (
    Battery,
    CapacitorBank,
    ChargingStation,
    Equipment,
    FlexibleLoad,
    Generator,
    OnOffLoad,
    TapChanger,
    ThermalLoad,
    Transformer,
)
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import (
    ChargingSession,
    LoadUsage,
    Measured,
    Measurements,
    Plan,
    SentSetpoint,
    Snapshot,
    ThermalState,
)
from ringmain_protocol import topics
from ringmain_protocol.messages import Fallback
from support.sites import NOW_MS, station

STEPS = 8
ANY = st.floats() | st.floats(-1000.0, 1000.0)
POWER = st.floats(0.5, 5000.0)
HOURS = st.sampled_from([LocalHours(), LocalHours(begin="22:00", end="06:00"), LocalHours(begin="01:00", end="02:00")])
INSTANT = st.integers(NOW_MS - 90_000_000, NOW_MS + 90_000_000)
SIGNALS = ("_kw", "_soc_kwh", "_energy_kwh", "_departure_s", "_degc", "_position", "_top_oil_degc")


@st.composite
def batteries(draw: st.DrawFn) -> Battery:
    low, target, high = sorted(draw(st.lists(st.floats(0, 0.9), min_size=3, max_size=3)))
    end = draw(st.sampled_from([{}, {"end_value_per_kwh": 0.1}, {"target_miss_per_kwh": 2.0}]))
    return Battery(
        name="it",
        capacity_kwh=draw(st.floats(1, 1e5)),
        charge_max_kw=draw(st.floats(0, 5000)),
        discharge_max_kw=draw(POWER),
        charge_efficiency=draw(st.floats(0.5, 1)),
        discharge_efficiency=draw(st.floats(0.5, 1)),
        self_discharge_per_h=draw(st.floats(0, 0.1)),
        soc_min_pu=low,
        soc_target_pu=target,
        soc_max_pu=high + 0.1,
        soc_reserve_pu=draw(st.floats(0, 0.1)),
        ramp_kw_per_min=draw(st.sampled_from([1.0, 100.0, 1e6])),
        **end,
    )


@st.composite
def with_least_power(draw: st.DrawFn, /, nameplate: type[Equipment], **fields: st.SearchStrategy[Any]) -> Equipment:
    """A load that draws at least `power_min_kw` while it is on."""
    most_kw = draw(POWER)
    least_kw = most_kw * draw(st.sampled_from([0.0, 0.2, 1.0]))
    others = {name: draw(field) for name, field in fields.items()}
    return nameplate(**{"name": "it", "power_max_kw": most_kw, "power_min_kw": least_kw, **others})


@st.composite
def thermal_loads(draw: st.DrawFn) -> ThermalLoad:
    coldest = draw(st.floats(-30, 80))
    return ThermalLoad(
        name="it",
        power_max_kw=draw(POWER),
        capacity_kwh_per_k=draw(st.floats(0.1, 100)),
        loss_kw_per_k=draw(st.floats(0, 10)),
        temperature_min_degc=coldest,
        temperature_max_degc=coldest + draw(st.floats(0.5, 20)),
        performance=draw(st.floats(0.5, 5)),
        cools=draw(st.booleans()),
    )


NAMEPLATES: Mapping[type[Equipment], st.SearchStrategy[Any]] = {
    Battery: batteries(),
    Generator: st.builds(Generator, name=st.just("it"), rated_power_kw=POWER, curtailable=st.booleans()),
    FlexibleLoad: with_least_power(FlexibleLoad, energy_kwh=st.floats(0, 1e4), hours=HOURS),
    OnOffLoad: st.builds(
        OnOffLoad,
        name=st.just("it"),
        power_kw=POWER,
        run_h=st.floats(0, 24),
        run_min_h=st.floats(0, 4),
        starts_max=st.none() | st.integers(1, 3),
        hours=HOURS,
    ),
    ChargingStation: with_least_power(ChargingStation, efficiency=st.floats(0.5, 1)),
    ThermalLoad: thermal_loads(),
    CapacitorBank: st.builds(CapacitorBank, name=st.just("it"), step_kvar=POWER, steps=st.integers(1, 5)),
    TapChanger: st.builds(
        TapChanger,
        name=st.just("it"),
        position_min=st.integers(-9, 0),
        position_max=st.integers(1, 9),
        step_pu=st.just(0.01),
    ),
    Transformer: st.builds(
        Transformer,
        name=st.just("it"),
        rated_power_kva=POWER,
        ageing_cost_per_h=st.floats(0, 10),
        ambient_degc=st.just(20.0),
    ),
}
"""A nameplate of each kind; equipment is called "it"."""


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    """Any state of "it", also one that cannot be."""
    return Snapshot(
        issued_at_ms=NOW_MS,
        step_s=900,
        history={},
        known_future={},
        import_limit_kw=[1000.0] * STEPS,
        export_limit_kw=[1000.0] * STEPS,
        soc_kwh={"it": draw(st.none() | ANY)},
        runs=draw(st.dictionaries(st.just("it"), usages())),
        visits={"it": draw(st.lists(sessions(), max_size=3))},
        temperature_degc={"it": draw(st.none() | ANY)},
        thermal=draw(st.dictionaries(st.just("it"), st.builds(ThermalState, ANY, ANY, ANY))),
        positions={"it": draw(st.none() | st.integers(-20, 20))},
        operations_left={"it": draw(st.integers(-1, 10))},
    )


def usages() -> st.SearchStrategy[LoadUsage]:
    return st.builds(
        LoadUsage,
        on=st.booleans(),
        since_ms=INSTANT,
        run_h=ANY,
        starts=st.integers(-2, 5),
        drawn_kwh=ANY,
    )


def sessions() -> st.SearchStrategy[ChargingSession]:
    return st.builds(ChargingSession, from_ms=INSTANT, to_ms=INSTANT, energy_kwh=ANY)


@st.composite
def images(draw: st.DrawFn) -> Measurements:
    """A process image with any value of any signal of "it"."""
    newest = draw(
        st.dictionaries(
            st.sampled_from([f"it{suffix}" for suffix in SIGNALS]),
            st.builds(Measured, st.none() | ANY, st.integers(NOW_MS - 400_000, NOW_MS + 100_000)),
        )
    )
    finite = st.floats(0, 1e4)
    usage = st.builds(
        LoadUsage, on=st.booleans(), since_ms=INSTANT, run_h=finite, starts=st.integers(0, 5), drawn_kwh=finite
    )
    return Measurements(
        now_ms=NOW_MS,
        stale_after_s=300.0,
        newest=newest,
        import_limit_kw=1000.0,
        export_limit_kw=1000.0,
        runs=draw(st.dictionaries(st.just("it"), usage)),
        ambient_degc=draw(st.dictionaries(st.just("it"), st.floats(-40, 60))),
    )


def periods(*, in_cycle: bool) -> st.SearchStrategy[Period]:
    return st.builds(
        Period,
        at_ms=st.integers(NOW_MS, NOW_MS + 90_000_000),
        duration_h=st.sampled_from([1 / 12, 0.25, 1.0]),
        time_zone=st.just("Europe/Amsterdam"),
        ambient_degc=st.dictionaries(st.just("it"), st.floats(-40, 60)),
        valid_h=st.floats(0.01, 1.0) if in_cycle else st.just(0.0),
    )


ROOMS = st.builds(
    lambda net_kw, least_kw, width_kw: PccRoom(net_kw, least_kw, least_kw + width_kw),
    st.floats(-1e4, 1e4),
    st.floats(-1e4, 0) | st.just(-math.inf),
    st.floats(0, 1e4) | st.just(math.inf),
).filter(lambda room: not math.isnan(room.most_kw))


def site_with(kind: AnyKind, nameplate: Equipment) -> Site:
    site = station(time_zone="Europe/Amsterdam", horizon_steps=STEPS, busbar=Busbar(pu_per_kw=-1e-5, pu_per_kvar=-1e-5))
    return replace(site, **{kind.site_field: (nameplate,)})


def numbers(value: object) -> Iterator[float]:
    """Every number in a state, cost or limit."""
    match msgspec.to_builtins(value):
        case bool() | None | str():
            return
        case int() | float() as number:
            yield number
        case dict() as fields:
            for field in fields.values():
                yield from numbers(field)
        case list() | tuple() as items:
            for item in items:
                yield from numbers(item)


def assert_finite(value: object) -> None:
    assert all(math.isfinite(number) for number in numbers(value)), value


def check_names(kind: AnyKind, nameplate: Equipment) -> None:
    """Its feeds are signals with a unit, its fields exist, its tolerance is one."""
    for signal in kind.feeds(nameplate):
        assert topics.is_signal(signal)
        assert signal.startswith(nameplate.name)
        assert units_of(signal) is not None
    assert kind.site_field in Site.__struct_fields__
    assert kind.state_field is None or kind.state_field in Snapshot.__struct_fields__
    assert kind.plan_field is None or kind.plan_field in Plan.__struct_fields__
    assert kind.response(nameplate).tolerance > 0
    assert 0 <= kind.worth_per_kwh(nameplate) < math.inf
    assert all(isinstance(line, str) for line in kind.advice(nameplate, kind.feeds(nameplate)))


def check_plausible(kind: AnyKind, nameplate: Equipment, snapshot: Snapshot) -> None:
    """Whatever is measured, its state is finite, and a plausible state is its own plausible state."""
    state, reasons = kind.plausible(nameplate, snapshot)
    assert_finite(state)
    assert (state, reasons) == kind.plausible(nameplate, snapshot)
    if kind.state_field is not None and state is not None:
        again = replace(snapshot, **{kind.state_field: {nameplate.name: state}})
        assert kind.plausible(nameplate, again) == (state, ())


def check_range(kind: AnyKind, nameplate: Equipment, image: Measurements, last: SentSetpoint | None) -> None:
    """Whatever is measured, its range is not empty and inside the nameplate; the guard would let all of it pass."""
    site, powers = site_with(kind, nameplate), kind.powers_kw(nameplate)
    found = kind.range_now(nameplate, image, last, site)
    assert found == kind.range_now(nameplate, image, last, site)
    if found is None:
        return
    assert powers.least - ROUNDING <= found.interval.least <= found.interval.most <= powers.most + ROUNDING
    previous = {} if last is None else {nameplate.name: last}
    for power_kw in (found.at_most(found.interval.least), found.at_most(found.interval.most)):
        limited = limit_setpoints({nameplate.name: power_kw}, site=site, measurements=image, previous=previous)
        granted_kw = limited.power_kw[nameplate.name]
        assert granted_kw is not None
        assert abs(granted_kw - power_kw) <= ROUNDING * max(1.0, abs(power_kw))


def check_rule_of_the_cycle(kind: AnyKind, nameplate: Equipment, image: Measurements, period: Period, room: PccRoom) -> None:
    """The rule stays inside the nameplate, and inside the range of the cycle once both are put together."""
    powers = kind.powers_kw(nameplate)
    wanted = kind.rule(nameplate, kind.state_now(nameplate, image), period, room)
    assert powers.least - ROUNDING <= wanted.interval.least <= wanted.interval.most <= powers.most + ROUNDING
    possible = kind.range_now(nameplate, image, None, site_with(kind, nameplate))
    if possible is not None:
        asked = {nameplate.name: possible.up_to(wanted.interval.most)}
        assert possible.possible(share_room(asked, room.most_kw - room.net_kw)[nameplate.name])


def check_rule_of_a_schedule(kind: AnyKind, nameplate: Equipment, snapshot: Snapshot, start: Period, room: PccRoom) -> None:
    """Step after step the rule stays inside the nameplate, and the next state is finite and plausible."""
    state, _ = kind.plausible(nameplate, snapshot)
    powers, period = kind.powers_kw(nameplate), start
    for _ in range(4):
        wanted = kind.rule(nameplate, state, period, room)
        assert powers.least - ROUNDING <= wanted.interval.least <= wanted.interval.most <= powers.most + ROUNDING
        power_kw = share_room({"it": wanted}, room.most_kw - room.net_kw)["it"]
        state = kind.after(nameplate, state, power_kw, period)
        assert_finite(state)
        period = period._replace(at_ms=period.end_ms)


def check_after(kind: AnyKind, nameplate: Equipment, snapshot: Snapshot, period: Period, share: float) -> None:
    """After any power of the nameplate, also one that the rule would not choose, the state is finite and the same again."""
    state, _ = kind.plausible(nameplate, snapshot)
    powers = kind.powers_kw(nameplate)
    power_kw = powers.least + share * (powers.most - powers.least)
    then = kind.after(nameplate, state, power_kw, period)
    assert_finite(then)
    assert then == kind.after(nameplate, state, power_kw, period)
    assert (then is None) == (state is None)
    if isinstance(nameplate, Battery):
        assert kind.plausible(nameplate, replace(snapshot, soc_kwh={nameplate.name: then})) == (then, ())


def check_costs_and_limits(kind: AnyKind, nameplate: Equipment, snapshot: Snapshot, plan: Plan) -> None:
    """Costs and limits of a plan are finite; a limit binds inside the horizon."""
    review = PlanReview(plan, snapshot, site_with(kind, nameplate), 0.3)
    costs, limits = kind.costs(nameplate, review), kind.binding(nameplate, review)
    assert_finite(costs)
    assert_finite(limits)
    assert all(nameplate.name in cost.component for cost in costs)
    end_ms = plan.issued_at_ms + 1000 * plan.step_s * STEPS
    assert all(plan.issued_at_ms <= span.from_ms < span.to_ms <= end_ms for limit in limits for span in limit.when)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """A plan for "it" and for whatever it is: complete, or without any course of a state."""

    def course(least: float, most: float) -> dict[str, list[float]]:
        return {"it": draw(st.lists(st.floats(least, most), min_size=STEPS, max_size=STEPS))}

    pcc_kw = course(-1000.0, 1000.0)["it"]
    bare = Plan(issued_at_ms=NOW_MS, step_s=900, fallback=Fallback.OPTIMAL, power_kw=course(-100.0, 100.0), pcc_kw=pcc_kw)
    if draw(st.booleans()):
        return bare
    return replace(
        bare,
        curtailed_kw=course(0.0, 100.0),
        soc_kwh=course(0.0, 100.0),
        temperature_degc=course(-10.0, 90.0),
        positions={"it": draw(st.lists(st.integers(-9, 9), min_size=STEPS, max_size=STEPS))},
        loading_pu=course(0.0, 2.0),
        top_oil_degc=course(-20.0, 150.0),
        hot_spot_degc=course(-20.0, 200.0),
    )
