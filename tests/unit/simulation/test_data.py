"""The excerpt of real data that ships with the package."""

import numpy as np

from ringmain_simulation.data import EXCERPT, SITES, load_excerpt


def test_excerpt_is_small_and_its_licence_stands_beside_it() -> None:
    assert EXCERPT.stat().st_size < 700_000
    notice = EXCERPT.with_name("LICENSE.md").read_text(encoding="utf-8")
    assert "MPL-2.0" in notice
    assert "OpenSTEF" in notice


def test_excerpt_holds_four_loads_and_the_weather_of_four_months() -> None:
    excerpt = load_excerpt()
    assert list(SITES) == list(excerpt.load_kw)
    assert len(excerpt.price_per_mwh) == 120 * 96 + 1
    for load_kw in excerpt.load_kw.values():
        assert np.isnan(load_kw).sum() in (192, 194)
        assert np.nanmax(np.abs(load_kw)) < 25_000


def test_weather_is_cleaned_and_what_is_missing_stays_missing() -> None:
    excerpt = load_excerpt()
    assert np.nanmin(excerpt.radiation_w_per_m2) == 0
    assert 200 < np.nanmax(excerpt.radiation_w_per_m2) < 600
    assert np.nanmax(excerpt.cloud_pct) == 100
    assert np.isnan(excerpt.price_per_mwh[-100:]).all()
