"""The last message when control ends opens no limit and lasts as long as the equipment takes it."""

import json
from typing import Any

from ringmain_agent.config.output import OnLeave, Output
from ringmain_agent.outputs.leave_messages import leave_messages
from ringmain_agent.site.nameplates import CapacitorBank, Generator
from support.sites import NOW_MS, battery, boiler, station

SITE = station(
    export_limit_kw=100.0,
    batteries=(battery(),),
    generators=(Generator(name="pv", rated_power_kw=300.0),),
    thermal_loads=(boiler(),),
    capacitor_banks=(CapacitorBank(name="bank", step_kvar=50.0, steps=3),),
)


def messages(**outputs: Output) -> dict[str, dict[str, Any]]:
    made = leave_messages(outputs, SITE, sequence=7, now_ms=NOW_MS, reason="stop")
    return {name: json.loads(message.payload) | {"topic": message.topic} for name, message in made.items()}


def test_curtailed_plant_of_an_export_limited_site_stays_curtailed_as_long_as_it_takes() -> None:
    made = messages(pv=Output(topic="pv/set", valid_for_max_s=7200))
    assert made == {
        "pv": {
            "topic": "pv/set",
            "power_kw": -100.0,
            "sequence": 7,
            "issued_at_ms": NOW_MS,
            "valid_for_s": 7200,
            "fallback": "failsafe",
            "reason": "stop",
        }
    }


def test_release_is_the_release_of_the_equipment_and_a_position_stays() -> None:
    made = messages(battery=Output(topic="b", on_leave=OnLeave.RELEASE), bank=Output(topic="bank"))
    assert made.keys() == {"battery"}
    assert made["battery"]["release"] is True


def test_load_that_would_leave_its_temperature_band_gets_no_long_order() -> None:
    assert messages(boiler=Output(topic="b", on_leave=OnLeave.FAILSAFE, valid_for_s=90))["boiler"]["valid_for_s"] == 90
