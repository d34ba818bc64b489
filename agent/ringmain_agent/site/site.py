"""A site: its equipment, its connection to the grid, its tariff, and the settings of its regulator. Pure data."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Meta, Struct

from ringmain_agent.site.grid_connection import Busbar, GridConnection
from ringmain_agent.site.hours import holds
from ringmain_agent.site.nameplates import (
    Battery,
    CapacitorBank,
    ChargingStation,
    Equipment,
    FlexibleLoad,
    Generator,
    NotNegative,
    OnOffLoad,
    Positive,
    TapChanger,
    ThermalLoad,
    Transformer,
)
from ringmain_agent.site.tariff import Tariff

DAY_S: Final = 86400
SETTLEMENT_PERIOD_S: Final = 900
"""Limits and demand charges hold for the mean over a quarter of an hour by the clock."""
LOAD: Final = "load_kw"
PCC: Final = "pcc_kw"
REACTIVE: Final = "pcc_kvar"
VOLTAGE: Final = "voltage_pu"


ControllableLoad = ChargingStation | FlexibleLoad | ThermalLoad | OnOffLoad
PoweredEquipment = Battery | Generator | ControllableLoad


class RegulatorSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Maximum age of measurements and plans, and validity of setpoints.

    `valid_for_s` is the longest validity that an output gives a setpoint; a setpoint is safe for all of it. The regulator
    suppresses changes of a setpoint below `dead_band_kw`, unless a limit requires them. For `settle_s` after a change, the
    measured powers of the site and of its equipment may belong to different instants.
    """

    stale_after_s: Positive = 300.0
    plan_age_max_s: Positive = 14_400.0
    valid_for_s: Positive = 600.0
    dead_band_kw: NotNegative = 0.1
    settle_s: NotNegative = 15.0


class Site(Struct, frozen=True, kw_only=True):
    """A site as forecast, dispatch, regulator and limits know it.

    `limit_quantile` is the quantile of the net load for which the plan keeps energy in reserve to hold the import limit.
    With `pcc_feed` the pcc has a meter of its own; else `load_kw` and the measured equipment are the meter.
    """

    site: str
    grid_connection: GridConnection
    time_zone: str = "UTC"
    step_s: Annotated[int, Meta(gt=0, le=3600)] = 900
    horizon_steps: Annotated[int, Meta(gt=0, le=2000)] = 96
    history_steps: Annotated[int, Meta(gt=0, le=20_000)] = 768
    limit_quantile: Annotated[float, Meta(ge=0.5, lt=1)] = 0.9
    batteries: tuple[Battery, ...] = ()
    generators: tuple[Generator, ...] = ()
    flexible_loads: tuple[FlexibleLoad, ...] = ()
    on_off_loads: tuple[OnOffLoad, ...] = ()
    charging_stations: tuple[ChargingStation, ...] = ()
    thermal_loads: tuple[ThermalLoad, ...] = ()
    capacitor_banks: tuple[CapacitorBank, ...] = ()
    tap_changers: tuple[TapChanger, ...] = ()
    transformers: tuple[Transformer, ...] = ()
    busbar: Busbar | None = None
    tariff: Tariff = Tariff()
    regulator: RegulatorSettings = RegulatorSettings()
    pcc_feed: bool = False

    def __post_init__(self) -> None:
        if self.step_s <= 0 or DAY_S % self.step_s:
            raise ValueError(f"step_s {self.step_s} does not divide a day")
        names = [equipment.name for equipment in self.equipment]
        if len(set(names)) != len(names):
            raise ValueError(f"equipment names must differ: {', '.join(names)}")
        if reserved := {"load", "pcc"} & set(names):
            raise ValueError(f"equipment cannot be named {', '.join(sorted(reserved))}: a signal of the site has this name")
        try:
            ZoneInfo(self.time_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(f"time_zone {self.time_zone!r} is not an IANA time zone") from error
        if self.tap_changers and self.busbar is None:
            raise ValueError("a tap changer needs [busbar]: the band of the voltage that it holds")
        if self.grid_connection.firm_loading_max_pu is not None and len(self.transformers) < 2:
            raise ValueError("grid_connection.firm_loading_max_pu needs two transformers: one takes over from the other")

    @property
    def step_h(self) -> float:
        """Length of a step in hours."""
        return self.step_s / 3600

    @property
    def forecast_signals(self) -> tuple[str, ...]:
        """Signals that a plan forecasts: the load and each generator."""
        return (LOAD, *(generator.power_signal for generator in self.generators))

    @property
    def controllable_loads(self) -> tuple[ControllableLoad, ...]:
        """Loads that take a setpoint; they are not part of `load_kw`."""
        return (*self.charging_stations, *self.flexible_loads, *self.thermal_loads, *self.on_off_loads)

    @property
    def switched(self) -> tuple[CapacitorBank | TapChanger, ...]:
        """Equipment that takes a position."""
        return (*self.capacitor_banks, *self.tap_changers)

    @property
    def powered(self) -> tuple[PoweredEquipment, ...]:
        """Equipment with active power; its sum with the load is the power at the pcc."""
        return (*self.batteries, *self.generators, *self.controllable_loads)

    @property
    def surrounded(self) -> tuple[Transformer | ThermalLoad, ...]:
        """Equipment with an ambient temperature in its model."""
        return (*self.transformers, *self.thermal_loads)

    @property
    def equipment(self) -> Iterator[Equipment]:
        """All equipment of the site."""
        yield from (*self.powered, *self.switched, *self.transformers)

    def own_limits_kw(self, starts_ms: Sequence[int]) -> tuple[list[float], list[float]]:
        """The site's own import and export limit at each instant; of several timed limits, the last in force counts."""
        grid = self.grid_connection
        imports, exports = [grid.import_limit_kw] * len(starts_ms), [grid.export_limit_kw] * len(starts_ms)
        for timed in grid.limit:
            for index, within in enumerate(holds(timed.hours, starts_ms, self.time_zone)):
                if within and timed.import_limit_kw is not None:
                    imports[index] = timed.import_limit_kw
                if within and timed.export_limit_kw is not None:
                    exports[index] = timed.export_limit_kw
        return imports, exports

    def narrowest_limits_kw(self) -> tuple[float, float]:
        """The site's own import and export limit of its narrowest hours."""
        grid = self.grid_connection
        imports = [timed.import_limit_kw for timed in grid.limit if timed.import_limit_kw is not None]
        exports = [timed.export_limit_kw for timed in grid.limit if timed.export_limit_kw is not None]
        return min([grid.import_limit_kw, *imports]), min([grid.export_limit_kw, *exports])

    def transformer_shares(self) -> dict[str, float]:
        """Share of the site's power that each transformer carries: as configured; the others share the rest by rating."""
        shares = {t.name: t.share for t in self.transformers if t.share is not None}
        others = [t for t in self.transformers if t.share is None]
        left, rest_kva = max(1.0 - sum(shares.values()), 0.0), sum([t.rated_power_kva for t in others])
        for transformer in others:
            shares[transformer.name] = left * transformer.rated_power_kva / rest_kva
        return shares
