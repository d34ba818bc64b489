"""The tariff: fixed prices, price series, hours of the day, demand charges, CO2. Pure data."""

from typing import Annotated

from msgspec import Meta, Struct

from ringmain_agent.site.hours import ALWAYS, LocalHours
from ringmain_protocol.messages import Name

Price = Annotated[float, Meta(gt=-1e3, lt=1e3)]
PER_KW = Annotated[float, Meta(ge=0, lt=1e6)]
MONTHLY = "month"


class PriceHours(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[tariff.price]]`: fixed prices for some hours; of several, the last in force counts."""

    hours: LocalHours = ALWAYS
    import_price_per_kwh: Price | None = None
    export_price_per_kwh: Price | None = None


class DemandCharge(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[tariff.demand_charge]]`: a price for the highest quarter-hour mean import in some hours of a billing period."""

    name: Name
    per_kw: PER_KW
    hours: LocalHours = ALWAYS
    period_months: Annotated[int, Meta(ge=1, le=12)] = 1
    """1 for a month, 12 for a calendar year; periods begin in January."""


class Tariff(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Prices of energy, of peak power and of CO2.

    Import costs the price series plus `import_surcharge_per_kwh`; export earns the export series, or else the price series.
    The fixed prices replace missing values of a series. `demand_charge_per_kw` prices the highest quarter-hour mean of the
    billing month; `demand_charge` adds components with hours and periods of their own. CO2 of the import costs
    `co2_price_per_t` for the series `co2_series` (in g/kWh), or else `co2_g_per_kwh`.
    """

    currency: Annotated[str, Meta(min_length=1, max_length=8)] = "EUR"
    import_price_per_kwh: Price = 0.0
    export_price_per_kwh: Price = 0.0
    price: tuple[PriceHours, ...] = ()
    price_series: Name | None = None
    export_price_series: Name | None = None
    import_surcharge_per_kwh: Price = 0.0
    demand_charge_per_kw: PER_KW = 0.0
    demand_charge: tuple[DemandCharge, ...] = ()
    co2_series: Name | None = None
    co2_g_per_kwh: Annotated[float, Meta(ge=0, le=5000)] = 0.0
    co2_price_per_t: Annotated[float, Meta(ge=0, lt=1e5)] = 0.0

    def __post_init__(self) -> None:
        for series in (self.price_series, self.export_price_series):
            if series is not None and not series.endswith(("_per_mwh", "_per_kwh")):
                raise ValueError(f"price_series {series!r} must end in _per_mwh or _per_kwh")
        names = [charge.name for charge in self.demand_charges]
        if len(set(names)) != len(names):
            raise ValueError(f"demand charges must differ in name: {', '.join(names)}")

    @property
    def demand_charges(self) -> tuple[DemandCharge, ...]:
        """Components with a price above 0; the plain monthly one is called `month`."""
        monthly = DemandCharge(name=MONTHLY, per_kw=self.demand_charge_per_kw)
        return tuple(charge for charge in (monthly, *self.demand_charge) if charge.per_kw > 0)


def per_kwh(series: str) -> float:
    """Factor from a value of a price series to a price per kWh."""
    return 0.001 if series.endswith("_per_mwh") else 1.0
