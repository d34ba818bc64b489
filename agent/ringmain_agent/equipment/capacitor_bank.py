"""Capacitor bank: reactive power in steps."""

from ringmain_agent.equipment.switched import SwitchedKind
from ringmain_agent.site.nameplates import CapacitorBank


class CapacitorBankKind(SwitchedKind[CapacitorBank]):
    """Its position is the number of steps in service."""

    nameplate = CapacitorBank
    site_field = "capacitor_banks"
