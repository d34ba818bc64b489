"""Schedules are followed by the exact equations: one that they do not confirm is not used, and limits are named by them."""

import re

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from ringmain_agent.planning.dispatch import Dispatch, Dispatcher
from ringmain_agent.planning.forecast import Forecaster
from ringmain_agent.planning.plan import plan
from ringmain_agent.site.nameplates import Transformer
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import Plan, Snapshot
from ringmain_protocol.messages import Fallback
from support.changed_dispatcher import Changed


def made(snapshot: Snapshot, site: Site) -> Plan:
    return plan(snapshot, site, Forecaster(site), Dispatcher(site))


@pytest.mark.parametrize("power_kw", [-2000.0, float("nan")])
def test_schedule_that_the_exact_simulation_does_not_confirm_is_not_used(
    snapshot: Snapshot, site: Site, power_kw: float
) -> None:
    """2000 kW for a day is more than the battery holds: when it is empty, the import is not what was promised."""

    def wrong(dispatch: Dispatch) -> Dispatch:
        return Dispatch(**(vars(dispatch) | {"power_kw": {"battery": np.full(96, power_kw)}}))

    tight = replace(snapshot, import_limit_kw=[4500.0] * 96)
    result = plan(tight, site, Forecaster(site), Changed(site, wrong))
    assert result.fallback == Fallback.RULE
    assert "re-simulation" in result.reason


def test_limit_that_cannot_be_held_is_named(snapshot: Snapshot, site: Site) -> None:
    result = made(replace(snapshot, import_limit_kw=[1000.0] * 96), site)
    assert result.fallback == Fallback.OPTIMAL
    assert "import limit less margin is exceeded by up to" in result.reason


def test_transformer_holds_its_hot_spot_by_the_exact_model_and_costs_nothing_where_it_is_cool(
    snapshot: Snapshot, site: Site
) -> None:
    """4 MVA are hot in the evening peak of 5 MW, 8 MVA are not; the cool one leaves the schedule as it is."""
    free = made(snapshot, site)
    cool = msgspec.structs.replace(site, transformers=(Transformer(name="t1", rated_power_kva=8000.0),))
    assert made(snapshot, cool).power_kw == free.power_kw
    hot = msgspec.structs.replace(
        site, transformers=(Transformer(name="t1", rated_power_kva=4000.0, hot_spot_max_degc=105.0),)
    )
    hottest = made(snapshot, msgspec.structs.replace(hot, transformers=(Transformer(name="t1", rated_power_kva=4000.0),)))
    assert max(hottest.hot_spot_degc["t1"]) > 105.0
    small = msgspec.structs.replace(site, transformers=(Transformer(name="t1", rated_power_kva=2000.0),))
    assert re.search(r"hot spot of t1 exceeds its limit by up to \d+ K", made(snapshot, small).reason)
    held = made(snapshot, hot)
    assert max(held.hot_spot_degc["t1"]) <= 105.0
    assert held.loading_pu["t1"] == pytest.approx([abs(kw) / 4000 for kw in held.pcc_kw])
