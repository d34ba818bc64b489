"""Plan and regulator give one answer to every question that both ask, for any site and whatever is measured or announced."""

import math

import numpy as np
from hypothesis import assume, event, given
from hypothesis import strategies as st
from msgspec.structs import replace

from ringmain_agent.control.limits import limit_setpoints
from ringmain_agent.control.pcc_limits import pcc_range
from ringmain_agent.control.regulate import RegulatorState, regulate
from ringmain_agent.control.rule import rule_setpoints
from ringmain_agent.control.setpoint_ranges import setpoint_ranges
from ringmain_agent.control.settlement_period import SettlementPeriod
from ringmain_agent.equipment.interval import Interval
from ringmain_agent.equipment.setpoint_range import OFF
from ringmain_agent.equipment.transformer import loadings_pu
from ringmain_agent.errors import DispatchError
from ringmain_agent.inputs.equipment_state import EquipmentState
from ringmain_agent.inputs.process_image import ProcessImage
from ringmain_agent.inputs.series_and_envelopes import SeriesAndEnvelopes
from ringmain_agent.inputs.step_history import StepHistory
from ringmain_agent.planning.dispatch import Dispatch, DispatchProblem
from ringmain_agent.planning.dispatch.transformer_temperatures import limits_matter
from ringmain_agent.planning.forecast import Forecaster
from ringmain_agent.planning.plan import plan
from ringmain_agent.site.grid_connection import GridConnection, TimedLimit
from ringmain_agent.site.hours import LocalHours
from ringmain_agent.site.nameplates import ChargingStation, Cooling, Rating, Transformer
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import Measurements, Plan, Snapshot, ThermalState
from ringmain_protocol import topics
from ringmain_protocol.messages import Series, encode
from ringmain_protocol.steps import Reading
from support.sites import ANY_POWER_KW, battery, boiler, forecast_of, station

START_MS = 1_604_224_800_000  # 2020-11-01T10:00:00Z
SIGNALS = ("pcc_kw", "pcc_kvar", "load_kw", "battery_kw", "battery_soc_kwh", "boiler_degc", "charger_energy_kwh")
ABSURD = st.sampled_from([math.nan, math.inf, -math.inf, 1e300, -1e300, 1e12, -1e12, 290.0, -273.0, 9999.0, -0.0])
HOURS = st.sampled_from([LocalHours(), LocalHours(begin="06:00", end="10:00"), LocalHours(begin="10:00", end="20:00")])
LOADING = st.floats(0.3, 2.0)


def sane_or_absurd(low: float, high: float) -> st.SearchStrategy[float]:
    return st.one_of(st.floats(low, high), st.floats(low, high), ABSURD)


@st.composite
def transformers(draw: st.DrawFn, name: str) -> Transformer:
    rating = st.builds(Rating, hours=HOURS, loading_max_pu=st.none() | LOADING, hot_spot_max_degc=st.none() | st.just(140.0))
    return Transformer(
        name=name,
        rated_power_kva=draw(st.sampled_from([250.0, 400.0, 400.0, 1000.0])),
        share=draw(st.none() | st.floats(0.05, 0.6)),
        cooling=draw(st.sampled_from(Cooling)),
        loading_max_pu=draw(LOADING),
        rating=tuple(draw(st.lists(rating, max_size=2))),
        ambient_degc=draw(st.floats(-20.0, 40.0)),
        ambient_series=draw(st.sampled_from([None, "air_degc", "other_degc"])),
        indoor_rise_k=draw(st.sampled_from([0.0, 10.0])),
    )


@st.composite
def sites(draw: st.DrawFn) -> Site:
    count = draw(st.integers(1, 3))
    limit = st.builds(TimedLimit, hours=HOURS, import_limit_kw=st.none() | st.floats(0, 500), export_limit_kw=st.none())
    low, target, high = sorted(draw(st.tuples(*[st.floats(0.0, 0.9)] * 3)))
    return station(
        horizon_steps=1,
        history_steps=1,
        time_zone="Europe/Amsterdam",
        import_limit_kw=draw(st.floats(0, 1e4)),
        export_limit_kw=draw(st.floats(0, 1e4)),
        margin_kw=draw(st.floats(0, 100)),
        limit=tuple(draw(st.lists(limit, max_size=2))),
        firm_loading_max_pu=draw(st.none() | LOADING) if count > 1 else None,
        batteries=(
            battery(
                capacity_kwh=draw(st.floats(1, 1e3)),
                charge_max_kw=draw(st.floats(0, 1e3)),
                discharge_max_kw=draw(st.floats(1, 1e3)),
                soc_min_pu=low,
                soc_target_pu=target,
                soc_max_pu=high + 0.05,
            ),
        ),
        thermal_loads=(
            boiler(
                loss_kw_per_k=draw(st.floats(0.1, 5.0)),
                cools=draw(st.booleans()),
                ambient_degc=draw(st.floats(-20.0, 40.0)),
                ambient_series=draw(st.sampled_from([None, "air_degc"])),
            ),
        ),
        charging_stations=(ChargingStation(name="charger", power_max_kw=50.0),),
        transformers=tuple(draw(transformers(f"t{number}")) for number in range(count)),
        valid_for_s=draw(st.sampled_from([10.0, 600.0])),
    )


TERMS = st.tuples(sane_or_absurd(-20.0, 130.0), sane_or_absurd(0.0, 60.0), sane_or_absurd(0.0, 30.0))
MEASURED: dict[str, st.SearchStrategy[float]] = {
    "pcc_kw": sane_or_absurd(-1500.0, 1500.0),
    "pcc_kvar": sane_or_absurd(-600.0, 600.0),
    "load_kw": sane_or_absurd(-1500.0, 1500.0),
    "battery_kw": sane_or_absurd(-1200.0, 1200.0),
    "battery_soc_kwh": sane_or_absurd(-10.0, 1100.0),
    "boiler_degc": sane_or_absurd(20.0, 90.0),
    "charger_energy_kwh": sane_or_absurd(-1.0, 100.0),
}


class Asked:
    """An optimizer that keeps the problem and has no schedule for it: the plan is then made by the rule."""

    problem: DispatchProblem

    def dispatch(self, problem: DispatchProblem) -> Dispatch:
        """None."""
        self.problem = problem
        raise DispatchError("time", "none was given")


class Both:
    """One site at one instant, as the regulator sees it and as the plan does."""

    site: Site
    now_ms: int
    measurements: Measurements
    problem: DispatchProblem
    plan: Plan

    def __init__(self, site: Site, measurements: Measurements, snapshot: Snapshot, now_ms: int) -> None:
        self.site, self.measurements, self.now_ms = site, measurements, now_ms
        pcc_kw = measurements.newest["pcc_kw"].value if "pcc_kw" in measurements.newest else None
        load_kw = pcc_kw if pcc_kw is not None and abs(pcc_kw) < 1e8 else 0.0
        asked = Asked()
        self.plan = plan(replace(snapshot, forecasts=[forecast_of("load_kw", [load_kw])]), site, Forecaster(site), asked)
        self.problem = asked.problem


@st.composite
def boths(draw: st.DrawFn) -> Both:
    site, now_ms = draw(sites()), START_MS + draw(st.integers(0, 899_999))
    measured = {name: draw(values) for name, values in MEASURED.items() if draw(st.integers(0, 9))}
    history = StepHistory(dict.fromkeys(SIGNALS, 300.0), step_s=900, steps_kept=1)
    history.accept([Reading(name, now_ms, value) for name, value in measured.items()], now_ms=now_ms)
    upstream = SeriesAndEnvelopes()
    for name in ("air_degc", "other_degc"):
        degc = draw(st.none() | sane_or_absurd(-30.0, 45.0).filter(lambda value: abs(value) <= 1e12))
        series = Series(issued_at_ms=now_ms, start_ms=START_MS, step_s=900, unit="degC", values=[degc])
        upstream.take(topics.topic(site.site, topics.SERIES, name), encode(series), now_ms=now_ms)
    states = {t.name: ThermalState(*draw(TERMS)) for t in site.transformers if draw(st.integers(0, 5))}
    kept = EquipmentState(at_ms=now_ms - draw(st.sampled_from([0, 60_000])), thermal=states)
    image = ProcessImage(site, history, upstream, equipment_state=kept)
    measurements = image.take(now_ms, draw(st.sampled_from([(), ("battery",)])))
    if draw(st.booleans()):  # what the state file holds after a restart need not be plausible
        measurements = replace(measurements, thermal=states)
    snapshot = replace(image.snapshot(signals=(), billing_peak_kw={}, models={}), thermal=measurements.thermal)
    return Both(site, measurements, snapshot, now_ms)


def without_connection(both: Both) -> Site:
    wide = GridConnection(
        import_limit_kw=ANY_POWER_KW,
        export_limit_kw=ANY_POWER_KW,
        firm_loading_max_pu=both.site.grid_connection.firm_loading_max_pu,
    )
    return replace(both.site, grid_connection=wide)


def without_transformers(both: Both) -> Site:
    connection = replace(both.site.grid_connection, firm_loading_max_pu=None)
    return replace(both.site, transformers=(), grid_connection=connection)


def carried_kw(both: Both) -> float:
    """What the regulator lets the transformers carry."""
    wide = replace(both.measurements, import_limit_kw=ANY_POWER_KW, export_limit_kw=ANY_POWER_KW)
    return pcc_range(wide, None, SettlementPeriod(), without_connection(both), load_kw=0.0).ceiling_kw


@given(both=boths())
def test_air_around_equipment(both: Both) -> None:
    assert both.measurements.ambient_degc == {name: degc[0] for name, degc in both.problem.ambient_degc.items()}


@given(both=boths())
def test_what_the_transformers_carry(both: Both) -> None:
    """Loading, firm capacity, top oil and hot spot a step from now, by their state, their air and the rating in force."""
    kvar, most_kw = float(both.problem.load_kvar[0]), carried_kw(both)
    assume(most_kw < ANY_POWER_KW)
    assume(loadings_pu(both.measurements, both.site))  # without it only the plan knows a loading: the forecast
    event(f"carry {'something' if most_kw > 0 else 'nothing'}")

    def too_much(kva: float) -> bool:
        return limits_matter(np.array([kva]), both.problem, both.site)

    most_kva = math.hypot(most_kw, kvar)
    assert too_much(1.001 * most_kva + 0.1)
    assert most_kw == 0 or not too_much(0.999 * most_kva - 0.01)


@given(both=boths())
def test_the_guard_leaves_what_the_regulator_may_use(both: Both) -> None:
    """A setpoint with which the transformers carry all that they may is not taken back for them."""
    newest, most_kw = both.measurements.newest, carried_kw(both)
    pcc_kw = newest["pcc_kw"].value if "pcc_kw" in newest else None
    assume(pcc_kw is not None and abs(pcc_kw) < most_kw < ANY_POWER_KW)
    store = battery(capacity_kwh=9e8, power_kw=1e7, ramp_kw_per_min=9e8)
    site = replace(without_connection(both), batteries=(store,))
    reported = {"battery_kw": replace(newest["pcc_kw"], value=0.0), "battery_soc_kwh": replace(newest["pcc_kw"], value=4e8)}
    limited = limit_setpoints(
        {"battery": most_kw - (pcc_kw or 0.0)},
        site=site,
        measurements=replace(both.measurements, newest=newest | reported),
        previous={},
    )
    assert limited.reasons == ()


@given(both=boths(), import_kw=sane_or_absurd(0, 1e4), export_kw=sane_or_absurd(0, 1e4))
def test_import_and_export_limit(both: Both, import_kw: float, export_kw: float) -> None:
    """Also where a limit is no number: then that of the site holds, at this time of the day."""
    site = without_transformers(both)
    measured = replace(both.measurements, import_limit_kw=import_kw, export_limit_kw=export_kw)
    snapshot = replace(both.problem.snapshot, import_limit_kw=[import_kw], export_limit_kw=[export_kw])
    for measurements, planned in (
        (both.measurements, Both(site, both.measurements, both.problem.snapshot, both.now_ms)),
        (measured, Both(site, measured, snapshot, both.now_ms)),
    ):
        band = pcc_range(measurements, None, SettlementPeriod(), site, load_kw=0.0)
        ceilings_kw = planned.problem.export_ceiling_kw[0], planned.problem.import_ceiling_kw[0]
        assert band.interval == Interval(-ceilings_kw[0], ceilings_kw[1])
        assert band.ceiling_kw == ceilings_kw[1]


@given(both=boths(), wished=st.tuples(sane_or_absurd(0, 1e4), sane_or_absurd(0, 1e4)))
def test_limits_that_may_be_breached_at_a_price(both: Both, wished: tuple[float, float]) -> None:
    site = without_transformers(both)
    asked = replace(both.measurements, requested_import_kw=wished[0], requested_export_kw=wished[1])
    snapshot = replace(both.problem.snapshot, requested_import_kw=[wished[0]], requested_export_kw=[wished[1]])
    planned = Both(site, asked, snapshot, both.now_ms).problem
    most_kw, least_kw = float(planned.import_ceiling_kw[0]), -float(planned.export_ceiling_kw[0])
    if (import_kw := planned.snapshot.requested_import_kw[0]) is not None:
        most_kw = min(most_kw, site.grid_connection.less_margin_kw(import_kw))
    if (export_kw := planned.snapshot.requested_export_kw[0]) is not None:
        least_kw = max(least_kw, -site.grid_connection.less_margin_kw(export_kw))
    assert pcc_range(asked, None, SettlementPeriod(), site, load_kw=0.0).interval == Interval(least_kw, most_kw)


@given(both=boths())
def test_energy_of_a_battery(both: Both) -> None:
    """The regulator allows the same with the energy that is reported and the one that is planned with; the guard too."""
    (store,) = both.site.batteries
    newest = dict(both.measurements.newest)
    newest.pop("battery_kw", None)  # no ramp: the energy alone decides
    reported = replace(both.measurements, newest=newest)
    planned_kwh = both.problem.snapshot.soc_kwh.get("battery")
    reach = setpoint_ranges(reported, {}, {}, both.site)["battery"]
    if planned_kwh is None or reach is None:
        assert planned_kwh is None
        assert reach is None
        return
    newest["battery_soc_kwh"] = replace(newest["battery_soc_kwh"], value=planned_kwh)
    assert setpoint_ranges(replace(reported, newest=newest), {}, {}, both.site)["battery"] == reach
    assert 0 <= planned_kwh <= store.capacity_kwh
    guard = [
        limit_setpoints(
            {"battery": wished},
            site=without_transformers(both),
            measurements=reported,
            previous={},
        ).power_kw["battery"]
        for wished in (-1e9, 1e9)
    ]
    np.testing.assert_allclose([reach.interval.least, reach.interval.most], np.array(guard, np.float64), atol=1e-9)


@given(both=boths())
def test_power_of_equipment_that_does_not_follow(both: Both) -> None:
    planned_kw = both.problem.snapshot.unresponsive_kw
    regulation, _ = regulate(both.measurements, None, RegulatorState(), both.site)
    assume(regulation.reason and not regulation.reason.startswith("load_kw is missing"))
    held = [f"{name} does not follow its setpoint: {kw:.1f} kW is assumed" for name, kw in planned_kw.items()]
    assert [reason for reason in regulation.reason.split("; ") if "does not follow" in reason] == held


@given(both=boths())
def test_temperature_that_a_thermal_load_keeps(both: Both) -> None:
    """The rule wishes the same for now as for the first step of a plan."""
    wide = without_connection(both)
    measurements = replace(both.measurements, import_limit_kw=ANY_POWER_KW, export_limit_kw=ANY_POWER_KW)
    found = setpoint_ranges(measurements, {}, {}, wide)
    known = {name: reach for name, reach in found.items() if reach is not None}
    assert ("boiler" in known) == ("boiler" in both.problem.snapshot.temperature_degc)
    wished_kw = rule_setpoints(
        measurements, known, wide, rest_kw=0.0, pcc_interval=Interval(-ANY_POWER_KW, ANY_POWER_KW)
    ).get("boiler", 0.0)
    snapshot = replace(both.problem.snapshot, import_limit_kw=[ANY_POWER_KW], export_limit_kw=[ANY_POWER_KW])
    planned = Both(wide, measurements, snapshot, both.now_ms).plan
    np.testing.assert_allclose(planned.power_kw["boiler"], [wished_kw], atol=1e-9)


@given(both=boths())
def test_whether_a_vehicle_is_there(both: Both) -> None:
    there = setpoint_ranges(both.measurements, {}, {}, both.site)["charger"] != OFF
    assert there == bool(both.problem.snapshot.visits["charger"])
