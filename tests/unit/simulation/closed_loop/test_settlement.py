"""Bills and excesses against sums done by hand."""

from collections import Counter

import numpy as np
import pytest

from ringmain_agent.site.hours import LocalHours
from ringmain_agent.site.nameplates import Transformer
from ringmain_agent.site.tariff import PriceHours
from ringmain_simulation.closed_loop.loop import Record, Trace
from ringmain_simulation.closed_loop.settlement import bill, excesses, hot_spots_degc, monthly_peaks_kw
from support.sites import battery, station

# 2021-01-31 22:30 UTC, so the third quarter-hour is the first of February in Amsterdam.
START_MS = 1_612_132_200_000
SITE = station(
    time_zone="Europe/Amsterdam",
    import_limit_kw=10,
    export_limit_kw=4,
    batteries=(battery("battery", 10, 5, wear_per_kwh=0.01),),
    import_price_per_kwh=0.2,
    export_price_per_kwh=0.1,
    price=(PriceHours(hours=LocalHours(begin="00:00", end="01:00"), import_price_per_kwh=0.4),),
    demand_charge_per_kw=3.0,
)
RECORD = Record(start_ms=START_MS, load_kw=np.zeros(4), load_kvar=np.zeros(4), available_kw={})
PCC_KW = np.array([8.0, -6.0, 12.0, 2.0])


def trace_with(end_kwh: float) -> Trace:
    return Trace(
        pcc_kw=PCC_KW,
        pv_kw={},
        battery_kw={"battery": np.zeros(4)},
        throughput_kwh={"battery": 6.0},
        soc_kwh={"battery": np.array([5.0, 5.0, 5.0, end_kwh])},
        soc_start_kwh={"battery": 5.0},
        hot_spot_degc={},
        levels=Counter(),
    )


def test_energy_is_paid_at_the_price_of_its_hour_and_peaks_by_the_local_month() -> None:
    money = bill(PCC_KW, SITE, RECORD)
    assert money.energy == pytest.approx(0.25 * (8 * 0.2 - 6 * 0.1 + 12 * 0.4 + 2 * 0.4))
    assert monthly_peaks_kw(PCC_KW, SITE, RECORD) == {"2021-01": 8.0, "2021-02": 12.0}
    assert money.demand_charge == pytest.approx(3 * (8 + 12))
    assert money.wear == money.stored == 0


def test_an_emptied_battery_is_no_saving() -> None:
    emptied, filled = (bill(PCC_KW, SITE, RECORD, trace_with(kwh)) for kwh in (3.0, 7.0))
    assert emptied.wear == pytest.approx(0.06)
    assert emptied.stored == pytest.approx(-2 / 0.95 * 0.3)
    assert filled.stored == pytest.approx(2 * 0.95 * 0.3)
    assert emptied.total > bill(PCC_KW, SITE, RECORD).total > filled.total


def test_excesses_are_counted_on_both_sides() -> None:
    broken = excesses(PCC_KW, SITE, RECORD)
    assert (broken.import_count, broken.export_count) == (1, 1)
    assert broken.import_worst_kw == pytest.approx(2.0)
    assert broken.hot_spot_max_degc is None
    assert excesses(np.array([10.0, -4.0, 0.0, 0.0]), SITE, RECORD).import_count == 0


def test_a_transformer_at_rated_load_settles_at_its_rated_rise() -> None:
    """20 degC + 60 K of oil + 1.2 x 23 K of the winding, once steady: the defaults of a distribution transformer."""
    site = station(transformers=(Transformer(name="t1", rated_power_kva=400),))
    record = Record(start_ms=0, load_kw=np.zeros(96), load_kvar=np.full(96, 240.0), available_kw={})
    assert hot_spots_degc(np.full(96, 320.0), site, record)["t1"] == pytest.approx(np.full(96, 107.6), abs=0.01)
