"""In closed loop with delays between setpoint and measurement: the pcc settles inside the limit and setpoints come to rest.

The pcc is measured up to three cycles late, and the power of the battery up to three cycles late, not by the same number: a
load that is their difference shows every setpoint again.

A load that steps while setpoints still show is hidden in part: its power and that of the battery cannot be told apart before
the settling time is over. The doubt is what the battery moved within that time. It halves with each settling time: the
correction is a movement again.
"""

import math
from itertools import pairwise
from typing import NamedTuple

from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from ringmain_agent.control.limits import limit_setpoints
from ringmain_agent.control.regulate import RegulatorState, regulate, remember
from ringmain_agent.site.nameplates import ChargingStation, Generator
from ringmain_agent.site.site import Site
from support.sites import NOW_MS, battery, measured, station

CYCLE_MS = 1000
CYCLES = 120
REST_CYCLES = 60
"""What the loop must have come to rest after: the settling time, the ramp, and a stopped charger's rest."""
SETTLE_CYCLES = 15
CERTAIN_CYCLES = REST_CYCLES + 2 * SETTLE_CYCLES
"""A doubt that the load left has come to rest as well: two settling times quarter it, the quarter-hour makes up the rest."""


class Moment(NamedTuple):
    """Powers of one cycle."""

    pcc_kw: float
    powers_kw: dict[str, float]
    setpoints: dict[str, float | None]


class Wiring(NamedTuple):
    """How many cycles late the pcc and the equipment's own powers are measured, and whether the load has a feed."""

    pcc_delay: int
    power_delay: int
    load_feed: bool


def closed_loop(site: Site, load_kw: list[float], wiring: Wiring, *, sun_kw: float = 0.0) -> list[Moment]:
    """Cycles of one second; the equipment follows at once, and what is measured of it comes later."""
    state, moments = RegulatorState(), [Moment(load_kw[0] - sun_kw, {"pv": -sun_kw}, {})] * 4
    for cycle, load in enumerate(load_kw):
        now_ms = NOW_MS + CYCLE_MS * cycle
        seen = moments[-1 - wiring.power_delay].powers_kw
        values = {"pcc_kw": moments[-1 - wiring.pcc_delay].pcc_kw, "battery_soc_kwh": 500.0, "charger_energy_kwh": 40.0}
        values |= {f"{equipment.name}_kw": seen.get(equipment.name, 0.0) for equipment in site.powered}
        if wiring.load_feed:
            values["load_kw"] = load
        measurements = measured(site, now_ms, **values)
        result, state = regulate(measurements, None, state, site)
        limited = limit_setpoints(result.setpoints, site=site, measurements=measurements, previous=state.sent).power_kw
        state = remember(state, limited, now_ms)
        powers = {name: kw or 0.0 for name, kw in limited.items() if name != "pv"}
        bound_kw = limited.get("pv")
        powers["pv"] = -sun_kw if bound_kw is None else max(-sun_kw, bound_kw)
        moments.append(Moment(load + sum(powers.values()), powers, limited))
    return moments[4:]


def site_with(ramp_kw_per_min: float, dead_band_kw: float, *, chargers: bool = False) -> Site:
    return station(
        import_limit_kw=500.0,
        export_limit_kw=500.0,
        margin_kw=10.0,
        batteries=(battery("battery", 1000.0, 400.0, ramp_kw_per_min=ramp_kw_per_min),),
        generators=(Generator(name="pv", rated_power_kw=2000.0),),
        charging_stations=(ChargingStation(name="charger", power_max_kw=150.0, power_min_kw=20.0),) if chargers else (),
        valid_for_s=60.0,
        dead_band_kw=dead_band_kw,
    )


WIRING = st.builds(Wiring, st.integers(0, 3), st.integers(0, 3), st.booleans())
RAMP = st.sampled_from([600.0, 3000.0, 1e6])
DEAD_BAND = st.sampled_from([0.0, 5.0])


def assert_at_rest(moments: list[Moment], *, still_from: int = REST_CYCLES) -> None:
    """Nothing changes any more, but for what the running quarter of an hour still has to make up."""
    for name in moments[-1].setpoints:
        late = [moment.setpoints[name] for moment in moments[REST_CYCLES:]]
        moves = [b - a for a, b in pairwise(late) if a is not None and b is not None]
        turns = [1 for a, b in pairwise(moves) if a * b < 0 and min(abs(a), abs(b)) > 0.5]
        assert sum(turns) == 0, f"{name} swings: {late}"
        assert max((abs(move) for move in moves[still_from - REST_CYCLES :]), default=0.0) < 5.0


def assert_held(moments: list[Moment], wiring: Wiring, least_kw: float, most_kw: float) -> None:
    """Inside the limits up to the doubt of the load, and inside them without any in the end."""
    drawn_kw = [math.fsum(moment.powers_kw.values()) for moment in moments]
    for cycle in range(REST_CYCLES, len(moments)):
        lately_kw = drawn_kw[cycle - SETTLE_CYCLES - wiring.pcc_delay - 1 : cycle + 1]
        doubtful = cycle < CERTAIN_CYCLES
        fell_kw = max(lately_kw) - drawn_kw[cycle] if doubtful else 0.0
        rose_kw = drawn_kw[cycle] - min(lately_kw) if doubtful else 0.0
        assert least_kw - rose_kw - 1e-6 <= moments[cycle].pcc_kw <= most_kw + fell_kw + 1e-6, f"cycle {cycle}"


HIDDEN_STEP = example(before_kw=535.0, after_kw=598.0, ramp=600.0, dead_band_kw=0.0, wiring=Wiring(0, 0, load_feed=False))
HIDDEN_FAR_STEP = example(
    before_kw=524.0, after_kw=773.0, ramp=600.0, dead_band_kw=0.0, wiring=Wiring(0, 0, load_feed=False)
)
LATE_PCC = example(before_kw=-196.0, after_kw=5.0, ramp=600.0, dead_band_kw=0.0, wiring=Wiring(2, 0, load_feed=True))
LATE_MOVE = example(before_kw=-261.0, after_kw=-399.0, ramp=600.0, dead_band_kw=5.0, wiring=Wiring(0, 1, load_feed=False))


@HIDDEN_STEP
@HIDDEN_FAR_STEP
@LATE_MOVE
@LATE_PCC
@given(before_kw=st.floats(-800, 800), after_kw=st.floats(-800, 800), ramp=RAMP, dead_band_kw=DEAD_BAND, wiring=WIRING)
def test_step_of_the_load_settles_inside_the_limit_without_swinging(
    before_kw: float, after_kw: float, ramp: float, dead_band_kw: float, wiring: Wiring
) -> None:
    site = site_with(ramp, dead_band_kw)
    load_kw = [before_kw] * 10 + [after_kw] * CYCLES
    moments = closed_loop(site, load_kw, wiring)[10:]
    assert_held(moments, wiring, -490.0, 490.0)
    assert_at_rest(moments, still_from=CERTAIN_CYCLES)


@HIDDEN_STEP
@HIDDEN_FAR_STEP
@given(before_kw=st.floats(0, 800), after_kw=st.floats(300, 1000), ramp=RAMP, dead_band_kw=DEAD_BAND, wiring=WIRING)
def test_chargers_do_not_flutter_where_the_battery_is_not_enough(
    before_kw: float, after_kw: float, ramp: float, dead_band_kw: float, wiring: Wiring
) -> None:
    """Up to 890 kW of load can be held with the battery alone; a charger draws what is left, or nothing."""
    site = site_with(ramp, dead_band_kw, chargers=True)
    load_kw = [before_kw] * 10 + [after_kw] * CYCLES
    moments = closed_loop(site, load_kw, wiring)[10:]
    assert_held(moments, wiring, -490.0, max(490.0, after_kw - 400.0))
    late = [moment.powers_kw["charger"] > 0 for moment in moments]
    assert sum(a != b for a, b in pairwise(late)) <= 3


@HIDDEN_STEP
@HIDDEN_FAR_STEP
@given(before_kw=st.floats(0, 800), after_kw=st.floats(300, 1000), ramp=RAMP, dead_band_kw=DEAD_BAND, wiring=WIRING)
def test_step_out_of_rest_leaves_no_doubt(
    before_kw: float, after_kw: float, ramp: float, dead_band_kw: float, wiring: Wiring
) -> None:
    """Nothing moved within the settling time: all of the step is load, and the limit holds as soon as the ramp is over."""
    site = site_with(ramp, dead_band_kw, chargers=True)
    moments = closed_loop(site, [before_kw] * REST_CYCLES + [after_kw] * CYCLES, wiring)[REST_CYCLES:]
    most_kw = max(490.0, after_kw - 400.0)
    assert all(moment.pcc_kw <= most_kw + 1e-6 for moment in moments[REST_CYCLES:])


@given(sun_kw=st.floats(0, 2000), load_kw=st.floats(0, 500), ramp=RAMP, dead_band_kw=DEAD_BAND, wiring=WIRING)
def test_plant_is_held_back_without_swinging(
    sun_kw: float, load_kw: float, ramp: float, dead_band_kw: float, wiring: Wiring
) -> None:
    site = site_with(ramp, dead_band_kw)
    moments = closed_loop(site, [load_kw] * (CYCLES + 10), wiring, sun_kw=sun_kw)[10:]
    assert all(moment.pcc_kw >= -490 - 1e-6 for moment in moments[REST_CYCLES:])
    assert_at_rest(moments)


@given(noise_kw=st.lists(st.floats(-2, 2), min_size=CYCLES, max_size=CYCLES))
def test_changes_below_the_dead_band_are_not_made(noise_kw: list[float]) -> None:
    """At 300 kW nothing is near a limit; the battery rests at first and is not moved by noise."""
    site = site_with(1e6, 5.0)
    site = replace(site, batteries=(replace(site.batteries[0], soc_target_pu=0.4),))
    moments = closed_loop(site, [300.0 + kw for kw in noise_kw], Wiring(0, 0, load_feed=True))
    assert len({moment.setpoints["battery"] for moment in moments}) <= 2
