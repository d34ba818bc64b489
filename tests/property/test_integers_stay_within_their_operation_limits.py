"""Positions are whole and of the equipment's range, and no day has more operations than are left or allowed.

On/off loads run at their power or not at all, and once on they stay on for their least time.
"""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from ringmain_agent.planning.dispatch import Dispatcher
from ringmain_agent.planning.forecast import Forecaster
from ringmain_agent.planning.plan import plan
from ringmain_agent.site.grid_connection import Busbar
from ringmain_agent.site.hours import LocalHours
from ringmain_agent.site.nameplates import CapacitorBank, OnOffLoad, TapChanger, Transformer
from ringmain_agent.snapshot import Plan, Snapshot
from ringmain_protocol.messages import Fallback
from support.sites import battery, station
from support.strategies import forecasts, rows, snapshots

STEPS = 8
ZONE = ZoneInfo("Europe/Amsterdam")
TAP = TapChanger(name="tap", position_min=-4, position_max=4, step_pu=0.0125, operations_per_day=2)
BANK = CapacitorBank(name="bank", step_kvar=100.0, steps=3, operations_per_day=3)
PUMP = OnOffLoad(name="pump", power_kw=40.0, run_h=2.0, run_min_h=2.0, starts_max=1, hours=LocalHours())
SITE = station(
    step_s=3600,
    horizon_steps=STEPS,
    time_zone="Europe/Amsterdam",
    batteries=(battery(),),
    on_off_loads=(PUMP,),
    tap_changers=(TAP,),
    capacitor_banks=(BANK,),
    transformers=(Transformer(name="t1", rated_power_kva=500.0, loading_max_pu=1.0),),
    busbar=Busbar(voltage_min_pu=0.97, voltage_max_pu=1.03, pu_per_kw=-1e-4, pu_per_kvar=-1e-4),
    price_series="price_per_kwh",
)
DISPATCHER = Dispatcher(SITE)
FORECASTER = Forecaster(SITE)
SNAPSHOTS = snapshots(
    SITE,
    issued_at_ms=st.integers(440_000, 450_000).map(lambda hour: 3_600_000 * hour),
    known_future=st.fixed_dictionaries({"price_per_kwh": rows(0.05, 0.5, STEPS)}),
    soc_kwh=st.fixed_dictionaries({"battery": st.floats(0, 100)}),
    positions=st.fixed_dictionaries({"tap": st.integers(-5, 5), "bank": st.integers(0, 3)}),
    operations_left=st.fixed_dictionaries({"tap": st.integers(0, 3), "bank": st.integers(0, 3)}),
    voltage_pu=st.floats(0.9, 1.1),
    pcc_kw=st.floats(-200, 600),
    pcc_kvar=st.floats(-100, 300),
    forecasts=forecasts(STEPS, load_kw=(-200, 600)),
)


@settings(max_examples=60)
@given(snapshot=SNAPSHOTS)
def test_integers_stay_within_their_operation_limits(snapshot: Snapshot) -> None:
    result = plan(snapshot, SITE, FORECASTER, DISPATCHER)
    assert result.fallback in {Fallback.OPTIMAL, Fallback.INCUMBENT}
    assert all(kw in {0.0, 40.0} for kw in result.power_kw["pump"])
    runs = "".join("#" if kw else "." for kw in result.power_kw["pump"]).strip(".").split(".")
    assert len([run for run in runs if run]) <= 2  # one start in each of the two days that the horizon may touch
    for switched in (TAP, BANK):
        stands, positions = snapshot.positions[switched.name], result.positions.get(switched.name)
        lowest, highest = switched.positions
        if stands is None or not lowest <= stands <= highest:
            assert positions is None
            continue
        assert positions is not None
        assert all(lowest <= position <= highest for position in positions)
        for day, done in operations(snapshot, result, switched.name, stands).items():
            left = snapshot.operations_left[switched.name] if day == 0 else switched.operations_per_day
            assert done <= min(left, switched.operations_per_day)


def operations(snapshot: Snapshot, result: Plan, name: str, stands: int) -> dict[int, int]:
    """Positions passed on each local day, counted from that of the first step."""
    counts: dict[int, int] = {}
    first = datetime.fromtimestamp(snapshot.issued_at_ms / 1000, UTC).astimezone(ZONE).toordinal()
    for index, position in enumerate(result.positions[name]):
        at = datetime.fromtimestamp(snapshot.issued_at_ms / 1000 + 3600 * index, UTC).astimezone(ZONE)
        counts[at.toordinal() - first] = counts.get(at.toordinal() - first, 0) + abs(position - stands)
        stands = position
    return counts
