"""Loading of a transformer."""

import pytest

from ringmain_agent.site.nameplates import Transformer


def test_transformer_loading_is_apparent_over_rated_power_whatever_the_direction() -> None:
    transformer = Transformer(name="t1", rated_power_kva=500.0)
    assert transformer.loading_pu(-400.0, 300.0) == pytest.approx(1.0)
    assert transformer.loading_pu(250.0) == pytest.approx(0.5)
