"""The ladder: which plan still counts at an instant."""

import pytest
from msgspec.structs import replace

from ringmain_agent.control.planned_step import present_step
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import Plan
from ringmain_protocol.messages import Fallback

MINUTE_MS = 60_000


@pytest.fixture
def plan(now_ms: int) -> Plan:
    return Plan(
        issued_at_ms=now_ms,
        step_s=900,
        fallback=Fallback.OPTIMAL,
        power_kw={"battery": [float(i) for i in range(96)], "pv": [-10.0] * 96},
        curtailed_kw={"pv": [5.0] * 96},
        soc_kwh={"battery": [4000.0] * 96},
        pcc_kw=[float(200 - i) for i in range(96)],
    )


@pytest.mark.parametrize(
    ("age_min", "rung", "step_index"),
    [
        (0, Fallback.OPTIMAL, 0),
        (14.9, Fallback.OPTIMAL, 0),
        (15.9, Fallback.OPTIMAL, 1),
        (16.1, Fallback.SHIFTED, 1),
        (239, Fallback.SHIFTED, 15),
    ],
)
def test_plan_is_followed_by_the_clock_and_named_shifted_when_it_is_old(
    plan: Plan, site: Site, age_min: float, rung: Fallback, step_index: int
) -> None:
    charged = replace(site, tariff=replace(site.tariff, demand_charge_per_kw=1.0))
    step = present_step(plan, now_ms=plan.issued_at_ms + round(age_min * MINUTE_MS), site=charged)
    assert step is not None
    assert (step.fallback, step.power_kw) == (rung, {"battery": float(step_index)})
    assert step.available_kw == {"pv": -15.0}
    assert step.peak_kw == {"month": 200 - step_index}


@pytest.mark.parametrize("age_min", [-1, 241, 24 * 60])
def test_plan_that_is_too_old_or_from_the_future_is_not_used(plan: Plan, site: Site, now_ms: int, age_min: int) -> None:
    assert present_step(plan, now_ms=now_ms + age_min * MINUTE_MS, site=site) is None


def test_plan_past_its_horizon_is_not_used_whatever_its_age_may_be(plan: Plan, site: Site, now_ms: int) -> None:
    patient = replace(site, regulator=replace(site.regulator, plan_age_max_s=1e6))
    assert present_step(plan, now_ms=now_ms + 24 * 60 * MINUTE_MS - 1, site=patient) is not None
    assert present_step(plan, now_ms=now_ms + 24 * 60 * MINUTE_MS, site=patient) is None


def test_incumbent_keeps_its_name(plan: Plan, site: Site, now_ms: int) -> None:
    step = present_step(replace(plan, fallback=Fallback.INCUMBENT), now_ms=now_ms, site=site)
    assert step is not None
    assert step.fallback == Fallback.INCUMBENT


def test_plan_that_is_only_a_rule_is_not_followed(plan: Plan, site: Site, now_ms: int) -> None:
    assert present_step(replace(plan, fallback=Fallback.RULE), now_ms=now_ms, site=site) is None
    assert present_step(None, now_ms=now_ms, site=site) is None


def test_plan_with_a_power_that_is_no_number_is_not_followed(plan: Plan, site: Site, now_ms: int) -> None:
    for bad in (float("nan"), float("inf")):
        powers = plan.power_kw | {"battery": [bad, *plan.power_kw["battery"][1:]]}
        assert present_step(replace(plan, power_kw=powers), now_ms=now_ms, site=site) is None
