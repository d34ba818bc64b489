"""Nameplates: ratings of each kind of equipment. Pure data and basic physics.

Fields carry the names of the site's TOML, `[<kind>.<name>]`. Powers are non-negative magnitudes here; in plans and
setpoints positive power is drawn from the network.
"""

from ringmain_agent.site.nameplates.battery import Battery
from ringmain_agent.site.nameplates.capacitor_bank import CapacitorBank
from ringmain_agent.site.nameplates.charging_station import ChargingStation, ExpectedVisit
from ringmain_agent.site.nameplates.equipment import (
    Efficiency,
    Equipment,
    NotNegative,
    Positive,
    Power,
    Share,
    Temperature,
    active_kw,
)
from ringmain_agent.site.nameplates.flexible_load import FlexibleLoad
from ringmain_agent.site.nameplates.generator import Generator
from ringmain_agent.site.nameplates.on_off_load import OnOffLoad
from ringmain_agent.site.nameplates.switched import Switched
from ringmain_agent.site.nameplates.tap_changer import TapChanger
from ringmain_agent.site.nameplates.thermal_load import ThermalLoad
from ringmain_agent.site.nameplates.transformer import Cooling, Paper, Rating, Transformer

__all__ = [
    "Battery",
    "CapacitorBank",
    "ChargingStation",
    "Cooling",
    "Efficiency",
    "Equipment",
    "ExpectedVisit",
    "FlexibleLoad",
    "Generator",
    "NotNegative",
    "OnOffLoad",
    "Paper",
    "Positive",
    "Power",
    "Rating",
    "Share",
    "Switched",
    "TapChanger",
    "Temperature",
    "ThermalLoad",
    "Transformer",
    "active_kw",
]
