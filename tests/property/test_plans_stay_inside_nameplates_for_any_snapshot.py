"""Missing, no number, absurd or contradictory: any snapshot gives a complete and finite plan inside the nameplates."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringmain_agent.planning.dispatch import Dispatcher
from ringmain_agent.planning.forecast import Forecaster
from ringmain_agent.planning.plan import plan
from ringmain_agent.site.grid_connection import Busbar
from ringmain_agent.site.hours import LocalHours
from ringmain_agent.site.nameplates import (
    CapacitorBank,
    ChargingStation,
    FlexibleLoad,
    Generator,
    OnOffLoad,
    TapChanger,
    Transformer,
)
from ringmain_agent.site.tariff import DemandCharge
from ringmain_agent.snapshot import ForecastResult, Plan, Snapshot
from ringmain_protocol.messages import Fallback
from support.sites import battery, boiler, station
from support.strategies import ANY_NUMBER, any_snapshots

STEPS = 6
SITE = station(
    step_s=300,
    horizon_steps=STEPS,
    time_zone="Europe/Amsterdam",
    import_limit_kw=300.0,
    export_limit_kw=200.0,
    battery_export=False,
    battery_grid_charge=False,
    firm_loading_max_pu=1.2,
    batteries=(
        battery("one", 200.0, 100.0, discharge_max_kw=80.0, soc_min_pu=0.1, soc_reserve_pu=0.3),
        battery("two", 50.0, self_discharge_per_h=0.1),
    ),
    generators=(
        Generator(name="pv", rated_power_kw=400.0),
        Generator(name="wind", rated_power_kw=100.0, curtailable=False),
    ),
    flexible_loads=(FlexibleLoad(name="pump", power_max_kw=20.0, energy_kwh=5.0, power_min_kw=5.0),),
    on_off_loads=(OnOffLoad(name="boiler", power_kw=30.0, run_h=0.25, run_min_h=0.2, starts_max=2),),
    charging_stations=(ChargingStation(name="charger", power_max_kw=22.0, power_min_kw=4.0),),
    thermal_loads=(
        boiler(
            "store",
            power_max_kw=10.0,
            capacity_kwh_per_k=2.0,
            loss_kw_per_k=0.1,
            temperature_min_degc=2.0,
            temperature_max_degc=8.0,
            performance=2.0,
            cools=True,
        ),
    ),
    capacitor_banks=(CapacitorBank(name="bank", step_kvar=50.0, steps=3),),
    tap_changers=(TapChanger(name="tap", position_min=-5, position_max=5),),
    transformers=(Transformer(name="t1", rated_power_kva=250.0), Transformer(name="t2", rated_power_kva=250.0)),
    busbar=Busbar(pu_per_kw=-1e-4, pu_per_kvar=-2e-4),
    price_series="price_per_kwh",
    export_price_series="feed_in_per_kwh",
    demand_charge=(DemandCharge(name="day", per_kw=1.0, hours=LocalHours(begin="08:00", end="20:00")),),
)
DISPATCHER = Dispatcher(SITE)
FORECASTER = Forecaster(SITE)
MOST_KW = {"one": (-80, 100), "two": (-50, 50), "pv": (-1e9, 0), "wind": (-1e9, 0)} | {
    "pump": (0, 20), "boiler": (0, 30), "charger": (0, 22), "store": (0, 10)
}  # fmt: skip


def forecasts(signal: str, low: float, high: float) -> st.SearchStrategy[ForecastResult]:
    width = 3
    row = st.lists(st.floats(low, high), min_size=width, max_size=width).map(sorted)
    wild = st.lists(ANY_NUMBER, min_size=width, max_size=width)
    usual = st.lists(row, min_size=STEPS, max_size=STEPS)
    values = st.one_of(usual, usual, usual, st.lists(st.one_of(row, wild), min_size=STEPS - 1, max_size=STEPS + 1))
    return values.map(lambda rows: ForecastResult(signal=signal, quantiles=[0.1, 0.5, 0.9], values=list(rows), release=1))


FORECASTS = st.tuples(forecasts("load_kw", -100, 400), forecasts("pv_kw", -400, 0), forecasts("wind_kw", -100, 0)).map(list)


@given(snapshot=any_snapshots(SITE, forecasts=FORECASTS))
def test_plans_stay_inside_nameplates_for_any_snapshot(snapshot: Snapshot) -> None:
    result = plan(snapshot, SITE, FORECASTER, DISPATCHER)
    assert result.fallback in {Fallback.OPTIMAL, Fallback.INCUMBENT, Fallback.RULE}
    assert_finite(result)
    for name, values in result.power_kw.items():
        least, most = MOST_KW[name]
        assert len(values) == STEPS
        assert all(least - 1e-6 <= value <= most + 1e-6 for value in values), (name, values)
    for nameplate in SITE.batteries:
        for energy_kwh in result.soc_kwh.get(nameplate.name, []):
            assert -1e-6 <= energy_kwh <= nameplate.capacity_kwh + 1e-6
    assert_balanced(snapshot, result)
    for switched in SITE.switched:
        lowest, highest = switched.positions
        if result.fallback != Fallback.RULE:
            assert all(lowest <= position <= highest for position in result.positions.get(switched.name, []))


def assert_finite(result: Plan) -> None:
    """What JSON cannot hold is not in a plan."""
    for field in (
        "power_kw",
        "curtailed_kw",
        "soc_kwh",
        "pcc_kw",
        "temperature_degc",
        "loading_pu",
        "hot_spot_degc",
        "voltage_pu",
    ):
        text = msgspec.json.encode(getattr(result, field))
        assert b"null" not in text, (field, text)


def assert_balanced(snapshot: Snapshot, result: Plan) -> None:
    """In active power pcc = load + equipment, and energy changes by what flows, less the losses."""
    for step, pcc_kw in enumerate(result.pcc_kw):
        load_kw = result.forecasts[0].values[step][1]
        assert pcc_kw == pytest.approx(load_kw + sum(power_kw[step] for power_kw in result.power_kw.values()), abs=1e-6)
    for nameplate in SITE.batteries:
        held = min(max(snapshot.soc_kwh.get(nameplate.name) or 0.0, 0.0), nameplate.capacity_kwh)
        for power_kw, after_kwh in zip(
            result.power_kw.get(nameplate.name, []), result.soc_kwh.get(nameplate.name, []), strict=False
        ):
            held = nameplate.soc_after_kwh(held, power_kw, SITE.step_h)
            assert held == pytest.approx(after_kwh, abs=1e-6)
