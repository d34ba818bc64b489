"""Recorded sites for the closed loop, each with equipment sized by one rule from the FIRST month of its record.

| quantity | chosen as |
|---|---|
| import limit | 95th percentile of the net load (load and PV together) of the first 31 days |
| export limit | 95th percentile of the export of these days, 0 for a site without export |
| margin | 1 % of the import limit |
| battery power | `POWER_FACTOR` x the largest excess over limit - margin in these days |
| battery energy | `ENERGY_FACTOR` x the most energy over limit - margin in any 24 hours of these days |
| battery reserve | the same most energy in any 24 hours |
| battery ramp | full power within a second |
| transformer | rated power: 95th percentile of the apparent power in these days; hot spot: continuous 98 degC |

The factors leave room for the later months. Steps are quarter-hours stamped with their START.
"""

import csv
import gzip
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from ringmain_agent.site.grid_connection import GridConnection
from ringmain_agent.site.hours import LocalHours
from ringmain_agent.site.nameplates import Battery, Generator, Transformer
from ringmain_agent.site.site import RegulatorSettings, Site
from ringmain_agent.site.tariff import PriceHours, Tariff
from ringmain_simulation.closed_loop.loop import SETPOINT_S, FloatArray, Record
from ringmain_simulation.replay import bridged

STEP_S: Final = 900
DAY_STEPS: Final = 96
SIZING_STEPS: Final = 31 * DAY_STEPS
PERCENTILE: Final = 95.0
MARGIN_SHARE: Final = 0.01
POWER_FACTOR: Final = 2.5
ENERGY_FACTOR: Final = 4.0
SOC_MIN_PU: Final = 0.05
HOT_SPOT_DEGC: Final = 98.0
STATION: Final = "WHF"
"""One of four stations with PV: the records of HFDP and OWD jump, and the PV of MNZL hardly follows radiation."""

STEEL: Final = "steel_industry"
HOUSEHOLD: Final = "emhass_household"
LIANDER: Final = "liander_whf"
PV: Final = "pv"
_HIGH: Final = 0.1907
_LOW: Final = 0.1419


class RecordedSite(NamedTuple):
    """A site and its record."""

    site: Site
    record: Record


def steel_industry(folder: Path) -> RecordedSite:
    """A steel works of 2018 by the quarter-hour: demand charge and a hot transformer.

    A row holds the quarter-hour BEFORE its time: the first row, 00:15, is the first quarter of the year. The 00:00 row has
    the date of the day that ends.
    """
    rows = _rows(folder / "steel_industry_15min.csv.gz")
    for row, at in zip(rows, _quarters(datetime(2018, 1, 1, 0, 15, tzinfo=UTC), len(rows)), strict=True):
        date = at - timedelta(days=1) if (at.hour, at.minute) == (0, 0) else at
        if row["date"] != f"{date:%d/%m/%Y %H:%M}":
            raise ValueError(f"row of {row['date']}: expected is {at}")
    lagging, leading = (_column(rows, f"{kind}_Current_Reactive_Power_kVarh") for kind in ("Lagging", "Leading"))
    record = Record(
        start_ms=_ms(datetime(2017, 12, 31, 15, tzinfo=UTC)),  # midnight in Seoul
        load_kw=4 * _column(rows, "Usage_kWh"),
        load_kvar=4 * (lagging - leading),
        available_kw={},
    )
    month = record.first(SIZING_STEPS)
    apparent_kva = float(np.percentile(np.hypot(month.load_kw, month.load_kvar), PERCENTILE))
    transformer = Transformer(name="t1", rated_power_kva=apparent_kva, hot_spot_max_degc=HOT_SPOT_DEGC)
    tariff = Tariff(import_price_per_kwh=_LOW, price=_high_hours(), demand_charge_per_kw=8.0)
    return _sized(STEEL, record, "Asia/Seoul", tariff, transformers=(transformer,))


def emhass_household(folder: Path) -> RecordedSite:
    """A household with PV from 2024-02-28 for a year: two tariffs, export below the lower one, an export limit.

    A half-hour gives two quarter-hours. Gaps of the load are bridged; PV without a value is night.
    """
    rows = _rows(folder / "emhass_household_30min.csv.gz")
    load_kw, pv_kw = (np.repeat(_column(rows, name) / 1000, 2) for name in ("load_w", "pv_w"))
    record = Record(
        start_ms=_ms(datetime.strptime(rows[0]["time_utc"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)),
        load_kw=np.maximum(bridged(load_kw), 0.0),
        load_kvar=np.zeros(len(load_kw)),
        available_kw={PV: -np.maximum(np.nan_to_num(pv_kw), 0.0)},
    )
    tariff = Tariff(import_price_per_kwh=_LOW, export_price_per_kwh=_LOW, price=_high_hours())
    return _sized(HOUSEHOLD, record, "Europe/Paris", tariff)


def liander_station(folder: Path) -> RecordedSite:
    """A Dutch substation with a metered solar part, three months of 2021."""
    rows = [row for row in _rows(folder / "nl_liander_10stations_15min.csv.gz") if row["station"] == STATION]
    net_kw, solar_kw = (1000 * bridged(_column(rows, name)) for name in ("net_load_mw", "solar_part_mw"))
    solar_kw = np.minimum(solar_kw, 0.0)
    record = Record(
        start_ms=_ms(datetime.strptime(rows[0]["time_utc"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)),
        load_kw=net_kw - solar_kw,
        load_kvar=np.zeros(len(net_kw)),
        available_kw={PV: solar_kw},
    )
    tariff = Tariff(import_price_per_kwh=_LOW, export_price_per_kwh=_LOW / 2, price=_high_hours())
    return _sized(LIANDER, record, "Europe/Amsterdam", tariff)


RECORDED: Final[dict[str, Callable[[Path], RecordedSite]]] = {
    STEEL: steel_industry,
    HOUSEHOLD: emhass_household,
    LIANDER: liander_station,
}


def _high_hours() -> tuple[PriceHours, ...]:
    """Hours of the higher price in the household problems of EMHASS, to the next whole quarter-hour."""
    hours = (LocalHours(begin="03:00", end="15:30"), LocalHours(begin="17:30", end="20:30"))
    return tuple(PriceHours(hours=h, import_price_per_kwh=_HIGH) for h in hours)


def _sized(
    name: str, record: Record, time_zone: str, tariff: Tariff, *, transformers: tuple[Transformer, ...] = ()
) -> RecordedSite:
    net_kw = record.first(SIZING_STEPS).net_kw
    import_limit_kw = float(np.percentile(net_kw, PERCENTILE))
    export_limit_kw = max(float(np.percentile(-net_kw, PERCENTILE)), 0.0)
    margin_kw = MARGIN_SHARE * import_limit_kw
    excess_kw = np.maximum(net_kw - (import_limit_kw - margin_kw), 0.0)
    power_kw = POWER_FACTOR * float(excess_kw.max())
    day_kwh = float(np.convolve(excess_kw * STEP_S / 3600, np.ones(DAY_STEPS)).max())
    battery = Battery(
        name="battery",
        capacity_kwh=ENERGY_FACTOR * day_kwh,
        charge_max_kw=power_kw,
        discharge_max_kw=power_kw,
        soc_min_pu=SOC_MIN_PU,
        soc_reserve_pu=SOC_MIN_PU + 1 / ENERGY_FACTOR,
        ramp_kw_per_min=60 * power_kw,
    )
    plants = (
        Generator(name=plant, rated_power_kw=1.5 * float(-values[:SIZING_STEPS].min()))
        for plant, values in record.available_kw.items()
    )
    site = Site(
        site=name,
        grid_connection=GridConnection(
            import_limit_kw=import_limit_kw, export_limit_kw=export_limit_kw, margin_kw=margin_kw
        ),
        time_zone=time_zone,
        step_s=STEP_S,
        batteries=(battery,),
        generators=tuple(plants),
        transformers=transformers,
        tariff=tariff,
        regulator=RegulatorSettings(stale_after_s=SETPOINT_S, valid_for_s=SETPOINT_S, settle_s=0.0),
    )
    return RecordedSite(site, record)


def _rows(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def _column(rows: list[dict[str, str]], name: str) -> FloatArray:
    return np.array([float(row[name]) if row[name] else np.nan for row in rows])


def _quarters(first: datetime, count: int) -> list[datetime]:
    return [first + timedelta(minutes=15 * step) for step in range(count)]


def _ms(at: datetime) -> int:
    return round(1000 * at.timestamp())
