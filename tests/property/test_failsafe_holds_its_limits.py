"""Whatever is lost, and any load within what is known: the fail-safe powers hold their limits, or say the shortfall."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ringmain_agent.control.failsafe import failsafe_powers
from ringmain_agent.control.limits import limit_setpoints
from ringmain_agent.control.regulate import RegulatorState, regulate
from ringmain_agent.equipment.interval import Interval
from ringmain_agent.equipment.setpoint_range import SetpointRange
from ringmain_agent.site.grid_connection import FailsafeLimits
from ringmain_agent.site.nameplates import ChargingStation, FlexibleLoad, Generator, OnOffLoad
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import Measurements
from ringmain_protocol.messages import Fallback, ReasonCode
from support.sites import NOW_MS, battery, boiler, measured, station

KW = st.floats(0, 2000)
UNIT = st.floats(0, 1)
ROUNDING = 1e-6


@st.composite
def sites(draw: st.DrawFn) -> Site:
    batteries = [battery(name, 1e6, draw(st.floats(1, 1000)), ramp_kw_per_min=1e6) for name in ("one", "two")]
    site = station(
        import_limit_kw=draw(KW),
        export_limit_kw=draw(KW),
        batteries=tuple(
            replace(b, failsafe_kw=draw(st.sampled_from([0.0, -0.5, 0.5])) * b.charge_max_kw) for b in batteries
        ),
        generators=(
            Generator(name="pv", rated_power_kw=draw(st.floats(1, 2000)), curtailable=draw(st.booleans())),
            Generator(name="wind", rated_power_kw=draw(st.floats(1, 2000)), failsafe_kw=draw(st.sampled_from([None, -1.0]))),
        ),
        charging_stations=(
            ChargingStation(name="charger", power_max_kw=300.0, power_min_kw=20.0, failsafe_kw=draw(st.floats(0, 300))),
        ),
        flexible_loads=(
            FlexibleLoad(name="pump", power_max_kw=100.0, energy_kwh=300.0, failsafe_kw=draw(st.floats(0, 100))),
        ),
        thermal_loads=(boiler(),),
        on_off_loads=(OnOffLoad(name="mill", power_kw=60.0, run_h=4.0, failsafe_kw=draw(st.sampled_from([0.0, 60.0]))),),
        pcc_feed=True,
    )
    limits = FailsafeLimits(import_kw=draw(st.one_of(st.none(), KW)), export_kw=draw(st.one_of(st.none(), KW)))
    return replace(site, grid_connection=replace(site.grid_connection, failsafe=limits))


@given(
    site=sites(),
    ends=st.tuples(KW, KW),
    known=st.tuples(st.booleans(), st.booleans()),
    load=UNIT,
    use=st.lists(UNIT, min_size=9),
)
def test_sum_of_what_follows_holds_the_limits_or_the_shortfall_is_said(
    site: Site, ends: tuple[float, float], known: tuple[bool, bool], load: float, use: list[float]
) -> None:
    """Loads may draw less than asked, plants generate less, and a battery of unknown energy does what it can."""
    import_kw, export_kw = site.grid_connection.failsafe_limits_kw
    allowed, load_kw = Interval(-export_kw, import_kw), Interval(min(ends), max(ends))
    possible = {
        b.name: SetpointRange(Interval(-b.discharge_max_kw, b.charge_max_kw)) if is_known else None
        for b, is_known in zip(site.batteries, known, strict=True)
    }
    powers = failsafe_powers(allowed, load_kw, site, batteries=possible, fixed={})
    follows = dict(powers.power_kw) | {p.name: -p.rated_power_kw for p in site.generators if not p.curtailable}
    pcc_kw = load_kw.least + load * (load_kw.most - load_kw.least)
    for (name, power_kw), share in zip(follows.items(), use, strict=False):
        pcc_kw += power_kw if possible.get(name) is not None else share * power_kw
    assert pcc_kw <= import_kw + powers.import_shortfall_kw + ROUNDING
    assert pcc_kw >= -export_kw - powers.export_shortfall_kw - ROUNDING
    least_kw = sum(b.discharge_max_kw for b in site.batteries if possible[b.name] is not None)
    most_kw = sum(b.charge_max_kw for b in site.batteries if possible[b.name] is not None)
    fixed_kw = sum(p.rated_power_kw for p in site.generators if not p.curtailable)
    highest_kw, lowest_kw = import_kw - load_kw.most, -export_kw - load_kw.least + fixed_kw
    if max(lowest_kw, -least_kw) <= min(highest_kw, most_kw):
        assert powers.import_shortfall_kw <= ROUNDING
        assert powers.export_shortfall_kw <= ROUNDING


@given(
    site=sites(),
    ends=st.tuples(KW, KW),
    heard=st.sets(st.sampled_from(["load", "one", "two", "pv", "wind", "charger", "pump", "mill"])),
    soc=st.booleans(),
)
def test_no_setpoint_of_an_unmeasured_site_lets_it_break_its_limits_unsaid(
    site: Site,
    ends: tuple[float, float],
    heard: set[str],
    soc: bool,  # noqa: FBT001  drawn
) -> None:
    """From the process image to what leaves `limits`: a released equipment may do what its nameplate allows."""
    values = {f"{name}_kw": 0.0 for name in heard} | ({"one_soc_kwh": 5e5, "two_soc_kwh": 5e5} if soc else {})
    load_kw = Interval(min(0.0, *ends), max(ends)) if "load" in heard else Interval(min(ends), max(ends))
    image: Measurements = replace(measured(site, NOW_MS, **values), load_least_kw=min(ends), load_most_kw=max(ends))
    result, state = regulate(image, None, RegulatorState(), site)
    assert result.fallback in {Fallback.FAILSAFE, Fallback.RELEASE}
    limited = limit_setpoints(result.setpoints, site=site, measurements=image, previous=state.sent).power_kw
    most_kw, least_kw = load_kw.most, load_kw.least
    for plant in site.generators:
        bound_kw = limited.get(plant.name) if plant.curtailable else None
        least_kw += -plant.rated_power_kw if bound_kw is None else bound_kw
    for load in site.controllable_loads:
        power_kw = limited[load.name]
        most_kw += getattr(load, "power_max_kw", 60.0) if power_kw is None else power_kw
    for one in site.batteries:
        power_kw = limited[one.name]
        certain = soc and power_kw is not None
        most_kw += one.charge_max_kw if power_kw is None else power_kw if certain else max(power_kw, 0.0)
        least_kw += -one.discharge_max_kw if power_kw is None else power_kw if certain else min(power_kw, 0.0)
    import_kw, export_kw = site.grid_connection.failsafe_limits_kw
    said = {reason.about for reason in result.reasons if reason.code is ReasonCode.FAILSAFE_SHORTFALL}
    assert "import" in said or most_kw <= import_kw + 0.1
    assert "export" in said or least_kw >= -export_kw - 0.1
