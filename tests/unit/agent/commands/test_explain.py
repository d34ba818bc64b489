"""Costs and binding limits of plans that are small enough to reckon by hand."""

from ringmain_agent.commands.explain import as_json, as_text, explain
from ringmain_agent.snapshot import Plan, Reason
from ringmain_protocol.messages import Fallback, ReasonCode
from support.explained_plan import PLAN, SITE, SNAPSHOT


def test_text_names_every_component_and_every_limit() -> None:
    explanation = explain(PLAN, SNAPSHOT, SITE)
    text = as_text(explanation)
    for cost in explanation.costs:
        assert cost.component in text
    for item in explanation.binding:
        assert item.limit in text
    assert "Schedule: optimal" in text


def test_a_plan_without_forecast_says_why() -> None:
    reason = Reason(ReasonCode.NO_FORECAST, "no forecast: there is no history")
    nothing = Plan(issued_at_ms=0, step_s=3600, fallback=Fallback.RULE, reasons=[reason])
    explanation = explain(nothing, SNAPSHOT, SITE)
    assert "Note: no forecast: there is no history" in as_text(explanation)
    assert as_json(explanation)["plan"]["reason"] == "no forecast: there is no history"
    assert as_json(explanation)["plan"]["reasons"][0]["code"] == "no_forecast"
