"""A series of prices has its unit in its name."""

import pytest

from ringmain_agent.site.tariff import Tariff, per_kwh


def test_price_series_says_its_unit_in_its_name() -> None:
    assert per_kwh("price_eur_per_mwh") == 0.001
    assert per_kwh("price_eur_per_kwh") == 1.0
    with pytest.raises(ValueError, match="must end in"):
        Tariff(price_series="price")
