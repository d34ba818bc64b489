"""Firm capacity: the power that the other transformers carry without the largest."""

from typing import Any

import pytest

from ringmain_agent.equipment.transformer import firm_capacity_kva
from ringmain_agent.site.nameplates import Transformer
from support.sites import station


def unit(name: str = "t1", **change: Any) -> Transformer:
    return Transformer(name=name, **({"rated_power_kva": 400.0, "ambient_degc": 27.0} | change))


def test_firm_capacity_is_that_of_the_one_that_is_full_first() -> None:
    """Of two that stay, the one that carries three quarters of their load is full first, at 1.1 times 400 kVA."""
    transformers = unit("t1", rated_power_kva=1000.0, share=0.6), unit("t2", share=0.3), unit("t3", share=0.1)
    assert firm_capacity_kva(station(transformers=transformers, firm_loading_max_pu=1.1)) == pytest.approx(440.0 / 0.75)


def test_of_equally_large_transformers_the_one_fails_that_leaves_least() -> None:
    """Of 0.2, 0.6 and 0.2, the outage of 0.6 leaves half to each: 800 kVA, in whichever order they are configured."""
    pair, small = (
        (unit("t1", rated_power_kva=1000.0, share=0.2), unit("t2", rated_power_kva=1000.0, share=0.6)),
        unit("t3", share=0.2),
    )
    for order in (pair, pair[::-1]):
        assert firm_capacity_kva(station(transformers=(*order, small), firm_loading_max_pu=1.0)) == pytest.approx(800.0)
