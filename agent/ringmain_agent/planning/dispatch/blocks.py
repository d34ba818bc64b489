"""The block of each kind of equipment, found by its nameplate."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from ringmain_agent.planning.dispatch.battery import BatteryBlock
from ringmain_agent.planning.dispatch.block import Block
from ringmain_agent.planning.dispatch.charging_station import ChargingStationBlock
from ringmain_agent.planning.dispatch.flexible_load import FlexibleLoadBlock
from ringmain_agent.planning.dispatch.generator import GeneratorBlock
from ringmain_agent.planning.dispatch.linear_program import LinearProgram
from ringmain_agent.planning.dispatch.on_off_load import OnOffLoadBlock
from ringmain_agent.planning.dispatch.switched import VoltageBlock
from ringmain_agent.planning.dispatch.thermal_load import ThermalLoadBlock
from ringmain_agent.planning.dispatch.transformer import TransformerBlock
from ringmain_agent.site.nameplates import (
    Battery,
    CapacitorBank,
    ChargingStation,
    Equipment,
    FlexibleLoad,
    Generator,
    OnOffLoad,
    TapChanger,
    ThermalLoad,
    Transformer,
)
from ringmain_agent.site.site import Site

BLOCKS: Mapping[type[Equipment], Callable[..., Block]] = MappingProxyType(
    {
        Battery: BatteryBlock,
        Generator: GeneratorBlock,
        FlexibleLoad: FlexibleLoadBlock,
        ChargingStation: ChargingStationBlock,
        OnOffLoad: OnOffLoadBlock,
        ThermalLoad: ThermalLoadBlock,
        CapacitorBank: VoltageBlock,
        TapChanger: VoltageBlock,
        Transformer: TransformerBlock,
    }
)
"""`load_blocks` creates the blocks of loads, in this order; `program` creates and connects the others."""


def load_blocks(program: LinearProgram, site: Site) -> list[Block]:
    """A block for each load of the site that takes a setpoint."""
    loads = site.controllable_loads
    return [block(program, load, site) for nameplate, block in BLOCKS.items() for load in loads if type(load) is nameplate]
