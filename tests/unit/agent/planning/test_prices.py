"""What a kWh costs in each step, whatever the series holds."""

import math

import numpy as np
import pytest

from ringmain_agent.planning.prices import co2_g_per_kwh, export_price_per_kwh, import_price_per_kwh
from ringmain_agent.site.hours import LocalHours
from ringmain_agent.site.site import Site
from ringmain_agent.site.tariff import PriceHours, Tariff
from ringmain_agent.snapshot import Reason, Snapshot
from ringmain_protocol.messages import ReasonCode
from support.sites import snapshot_of, station

HOUR_MS = 3_600_000
SPRING_MS = 1_711_843_200_000  # 2024-03-31 00:00 UTC: at 01:00 UTC clocks in Amsterdam go from 2 to 3
FIXED = Tariff(import_price_per_kwh=0.3, export_price_per_kwh=0.1)


def site_with(tariff: Tariff) -> Site:
    return station(time_zone="Europe/Amsterdam", tariff=tariff, step_s=3600, horizon_steps=4)


def snapshot_with(*, issued_at_ms: int = SPRING_MS, **series: list[float | None]) -> Snapshot:
    return snapshot_of(site_with(FIXED), issued_at_ms=issued_at_ms, known_future=series)


def test_hours_of_the_tariff_follow_the_clock_on_the_wall_over_a_change_of_it() -> None:
    """Local hours of the steps are 01, 03, 04, 05: there is no 02:00 on that day."""
    night = PriceHours(hours=LocalHours(begin="23:00", end="03:00"), import_price_per_kwh=0.2)
    early = PriceHours(hours=LocalHours(begin="04:00", end="05:00"), export_price_per_kwh=0.0)
    site = site_with(Tariff(import_price_per_kwh=0.3, export_price_per_kwh=0.1, price=(night, early)))
    assert import_price_per_kwh(snapshot_with(), site)[0].tolist() == [0.2, 0.3, 0.3, 0.3]
    assert export_price_per_kwh(snapshot_with(), site)[0].tolist() == [0.1, 0.1, 0.0, 0.1]


def test_of_hours_that_overlap_the_last_counts() -> None:
    prices = (PriceHours(import_price_per_kwh=0.5), PriceHours(import_price_per_kwh=0.7))
    assert import_price_per_kwh(snapshot_with(), site_with(Tariff(price=prices)))[0].tolist() == [0.7] * 4


def test_a_series_comes_before_the_fixed_price_and_export_has_its_own() -> None:
    tariff = Tariff(
        price_series="spot_eur_per_mwh", export_price_series="feed_in_eur_per_kwh", import_surcharge_per_kwh=0.05
    )
    snapshot = snapshot_with(spot_eur_per_mwh=[100.0, -50.0, 0.0, 20.0, 99.0], feed_in_eur_per_kwh=[0.08, 0.07, 0.06, 0.05])
    bought, notes = import_price_per_kwh(snapshot, site_with(tariff))
    sold, more = export_price_per_kwh(snapshot, site_with(tariff))
    assert bought == pytest.approx([0.15, 0.0, 0.05, 0.07])
    assert sold == pytest.approx([0.08, 0.07, 0.06, 0.05])
    assert notes + more == []


def test_a_price_that_cannot_be_believed_is_replaced_and_named_once() -> None:
    tariff = Tariff(price_series="spot_eur_per_mwh", import_price_per_kwh=0.3, import_surcharge_per_kwh=0.01)
    snapshot = snapshot_with(spot_eur_per_mwh=[math.nan, None, 1e9])
    bought, notes = import_price_per_kwh(snapshot, site_with(tariff))
    assert bought == pytest.approx([0.31] * 4)
    assert [note.text for note in notes] == ["spot_eur_per_mwh: no plausible value for all steps; using the fixed one"]
    bought, notes = import_price_per_kwh(snapshot_with(spot_eur_per_mwh=[100.0, math.inf, 100.0]), site_with(tariff))
    assert bought == pytest.approx([0.11, 0.31, 0.11, 0.31])
    assert notes == [
        Reason(
            ReasonCode.PRICE_MISSING,
            "spot_eur_per_mwh: no plausible value for 2 of 4 steps; using the fixed one",
            "spot_eur_per_mwh",
        )
    ]


def test_co2_of_the_import_is_a_second_price() -> None:
    tariff = Tariff(
        import_price_per_kwh=0.3, export_price_per_kwh=0.1, co2_series="co2_g_per_kwh", co2_g_per_kwh=400.0,
        co2_price_per_t=100.0,
    )  # fmt: skip
    snapshot = snapshot_with(co2_g_per_kwh=[0.0, 500.0, -1.0, 1e6])
    bought, notes = import_price_per_kwh(snapshot, site_with(tariff))
    assert bought == pytest.approx([0.3, 0.35, 0.34, 0.34])
    assert len(notes) == 1
    assert co2_g_per_kwh(snapshot, site_with(tariff))[0].tolist() == [0.0, 500.0, 400.0, 400.0]
    assert export_price_per_kwh(snapshot, site_with(tariff))[0].tolist() == [0.1] * 4


def test_co2_without_a_price_costs_nothing_and_its_series_is_not_asked_for() -> None:
    tariff = Tariff(import_price_per_kwh=0.3, co2_series="co2_g_per_kwh", co2_g_per_kwh=400.0)
    bought, notes = import_price_per_kwh(snapshot_with(), site_with(tariff))
    assert np.array_equal(bought, np.full(4, 0.3))
    assert notes == []
