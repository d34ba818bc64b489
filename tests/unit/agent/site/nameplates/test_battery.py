"""A battery that cannot be is refused when it is made, and energy is lost both ways."""

from typing import Any

import msgspec
import pytest

from ringmain_agent.site.nameplates import Battery

BATTERY: dict[str, Any] = {"capacity_kwh": 100.0, "charge_max_kw": 50.0, "discharge_max_kw": 40.0}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"capacity_kwh": 0.0}, "capacity_kwh"),
        ({"capacity_kwh": float("nan")}, "capacity_kwh"),
        ({"soc_min_pu": 0.6, "soc_max_pu": 0.6}, "must be below soc_max_pu"),
        ({"soc_target_pu": 0.99}, "soc_target_pu"),
        ({"charge_efficiency": 1.01}, "charge_efficiency"),
        ({"discharge_efficiency": 0.0}, "charge_efficiency and discharge_efficiency"),
        ({"charge_max_kw": -1.0}, "must not be negative"),
        ({"charge_max_kw": 0.0, "discharge_max_kw": 0.0}, "nor both 0"),
        ({"ramp_kw_per_min": 0.0}, "ramp_kw_per_min"),
    ],
)
def test_impossible_battery_is_refused(change: dict[str, float], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Battery(name="battery", **(BATTERY | change))
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(BATTERY | {"name": "battery"} | change, Battery)


def test_energy_in_the_battery_loses_both_ways() -> None:
    battery = Battery(name="battery", charge_efficiency=0.9, discharge_efficiency=0.8, **BATTERY)
    assert battery.soc_after_kwh(50.0, 10.0, 2.0) == pytest.approx(68.0)
    assert battery.soc_after_kwh(50.0, -10.0, 2.0) == pytest.approx(25.0)
