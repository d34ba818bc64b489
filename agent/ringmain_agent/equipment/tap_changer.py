"""Tap changer: the voltage of the busbar in steps."""

from ringmain_agent.equipment.switched import SwitchedKind
from ringmain_agent.site.nameplates import TapChanger


class TapChangerKind(SwitchedKind[TapChanger]):
    """Its position is its tap."""

    nameplate = TapChanger
    site_field = "tap_changers"
