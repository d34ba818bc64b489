"""MQTT of the equipment of a simulated site: topics and payloads of sensors, switch and setpoints.

A field engineer finds these at a real site and writes them into the site's TOML. They are not part of the protocol.
"""

from typing import Final

from msgspec import Struct

from ringmain_simulation.site import BATTERY, PV

EQUIPMENT: Final = (BATTERY, PV)

_FEEDS: Final = {
    "load_kw": "load",
    "pv_kw": "pv",
    "battery_kw": "battery",
    "battery_soc_kwh": "battery/soc",
    "pcc_kw": "pcc",
    "temperature_degc": "temperature",
}


class SetpointPayload(Struct, frozen=True, kw_only=True):
    """A setpoint for the equipment: a power with its validity; `None` releases the equipment."""

    sequence: int
    issued_at_ms: int
    power_kw: float | None = None
    valid_for_s: float = 0.0


def feed(site: str, signal: str) -> str:
    """Topic on which a sensor publishes."""
    return f"plant/{site}/{_FEEDS[signal]}"


def setpoint(site: str, equipment: str) -> str:
    """Topic of the setpoints of a piece of equipment."""
    return f"plant/{site}/{equipment}/setpoint"


def switch(site: str) -> str:
    """Topic of the switch between observe and control."""
    return f"plant/{site}/switch"
