"""The four sites of the witness test: import- and export-limited, with and without a measured load.

Each window of the record is one whose load was seen in the week before at the same hour: a controller without its meter
cannot know more than that week. Load and sun are scaled to the same round sizes, so that the limits bind all the time.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

import numpy as np
from msgspec import Struct

from ringmain_simulation.data import STEP_S, Excerpt
from ringmain_simulation.replay import bridged

BATTERY: Final = "battery"
PV: Final = "pv"
CHARGERS: Final = ("charger_1", "charger_2")
EQUIPMENT: Final = (BATTERY, PV, *CHARGERS)

VALID_FOR_S: Final = 30.0
STALE_AFTER_S: Final = 10.0
METER_LOST_AFTER_S: Final = 5.0
ENERGY_STALE_S: Final = 60.0
"""Energies come slowly at a real site; between two values the agent integrates the measured power."""
SWITCH_STALE_S: Final = 20.0
WINDOW_STEPS: Final = 8
WEEK_STEPS: Final = 672
DAY_STEPS: Final = 96
LIANDER: Final = "liander-287"


class Pair(Struct, frozen=True):
    """An import and an export limit in kW."""

    import_kw: float
    export_kw: float


class SiteDesign(Struct, frozen=True, kw_only=True):
    """Nameplates, limits and sensors of one site."""

    site: str
    limits: Pair
    envelope: Pair
    """Limits that the operator sends day by day."""
    fallback: Pair
    """Fail-safe values of an envelope with a heartbeat, and `without_envelope`."""
    ripple: Pair
    """Limits of the ripple-control contact while it is unheard."""
    load_kw: float
    sun_kw: float
    battery_kw: float
    battery_kwh: float
    pv_kw: float
    charger_kw: float
    measures_load: bool
    battery_safe_kw: float

    @property
    def when_silent_kw(self) -> dict[str, float]:
        """Power that each equipment takes by itself when its setpoints stop."""
        return {BATTERY: self.battery_safe_kw, PV: 0.0} | dict.fromkeys(CHARGERS, 0.0)

    @property
    def imports(self) -> bool:
        """Whether the import limit is the one that binds."""
        return self.load_kw > self.limits.import_kw

    @property
    def signals(self) -> tuple[str, ...]:
        """Signals of the sensors."""
        of_chargers = [signal for name in CHARGERS for signal in (f"{name}_kw", f"{name}_energy_kwh")]
        return (
            "pcc_kw",
            *(("load_kw",) if self.measures_load else ()),
            "battery_kw",
            "battery_soc_kwh",
            "pv_kw",
            *of_chargers,
            "ripple_position",
        )


def designs() -> tuple[SiteDesign, ...]:
    """The sites, in the order in which faults are dealt to them."""
    return tuple(
        design
        for measures_load in (True, False)
        for design in (
            SiteDesign(
                site="import" + ("" if measures_load else "-meter-only"),
                limits=Pair(800.0, 500.0),
                envelope=Pair(760.0, 500.0),
                fallback=Pair(720.0, 400.0),
                ripple=Pair(700.0, 500.0),
                load_kw=950.0,
                sun_kw=100.0,
                battery_kw=600.0,
                battery_kwh=6000.0,
                pv_kw=200.0,
                charger_kw=100.0,
                measures_load=measures_load,
                battery_safe_kw=-350.0,
            ),
            SiteDesign(
                site="export" + ("" if measures_load else "-meter-only"),
                limits=Pair(1000.0, 100.0),
                envelope=Pair(1000.0, 80.0),
                fallback=Pair(900.0, 40.0),
                ripple=Pair(900.0, 0.0),
                load_kw=250.0,
                sun_kw=1200.0,
                battery_kw=300.0,
                battery_kwh=6000.0,
                pv_kw=1500.0,
                charger_kw=50.0,
                measures_load=measures_load,
                battery_safe_kw=0.0,
            ),
        )
    )


class Window(Struct, frozen=True, kw_only=True):
    """Two hours of the record, with the week before; the scales bring its load and sun to the sizes of the site."""

    first_step: int
    load_scale: float
    sun_share: float


def windows(design: SiteDesign, excerpt: Excerpt) -> list[Window]:
    """All windows of the record in which the limits of the site bind, and whose load the week before has seen."""
    return list(_windows(design, excerpt))


def _windows(design: SiteDesign, excerpt: Excerpt) -> Iterator[Window]:
    load_kw, sun = bridged(excerpt.load_kw[LIANDER]), np.nan_to_num(excerpt.radiation_w_per_m2)
    known = np.isfinite(excerpt.load_kw[LIANDER])
    for first in range(WEEK_STEPS + DAY_STEPS, len(load_kw) - WINDOW_STEPS - 1, 2):
        rows = slice(first, first + WINDOW_STEPS + 1)
        now_kw, now_sun = load_kw[rows], sun[rows]
        week_kw = np.stack(
            [load_kw[first - DAY_STEPS * day : first - DAY_STEPS * day + WINDOW_STEPS + 1] for day in range(1, 8)]
        )
        if not known[first - WEEK_STEPS : first + WINDOW_STEPS + 1].all() or now_kw.min() < 0.85 * now_kw.max():
            continue
        if (now_kw > 0.97 * week_kw.max(axis=0)).any() or (now_kw < 1.03 * week_kw.min(axis=0)).any():
            continue
        if design.imports and week_kw.max() > 1.15 * now_kw.max():
            continue
        if not design.imports and (now_sun.min() < 0.4 * now_sun.max() or now_sun.max() < 100 or week_kw.min() < 0):
            continue
        yield Window(
            first_step=first,
            load_scale=design.load_kw / float(now_kw.max()),
            sun_share=design.sun_kw / max(float(now_sun.max()), 50.0),
        )


def history_csv(design: SiteDesign, excerpt: Excerpt, window: Window) -> str:
    """The week before the window, for `ringmain-agent import-history`: its load as the agent would have measured it."""
    load_kw = bridged(excerpt.load_kw[LIANDER])
    powers = [signal for signal in design.signals if signal.endswith("_kw") and signal not in ("load_kw", "pcc_kw")]
    lines = [",".join(["time", "load_kw" if design.measures_load else "pcc_kw", *powers])]
    for step in range(window.first_step - WEEK_STEPS - DAY_STEPS, window.first_step):
        at = datetime.fromtimestamp(excerpt.start_ms / 1000 + STEP_S * step, UTC)
        lines.append(f"{at.isoformat()},{load_kw[step] * window.load_scale:.1f}" + ",0" * len(powers))
    return "\n".join(lines) + "\n"


def agent_toml(design: SiteDesign, *, local_port: int, upstream_port: int, models: str = "", cycle_s: float = 1.0) -> str:
    """The configuration of the site's agent, as an installer writes it for an operator's witness."""
    grid, equipment = design.limits, _equipment(design)
    feeds = "\n".join(_feed(signal) for signal in design.signals)
    return f"""site = "{design.site}"
time_zone = "Europe/Amsterdam"
mode = "control"
cycle_s = {cycle_s}
commit_interval_s = 10
status_interval_s = 1
planner_timeout_s = 2
[mqtt.local]
host = "127.0.0.1"
port = {local_port}
[mqtt.upstream]
host = "127.0.0.1"
port = {upstream_port}
[switch]
topic = "plant/switch"
stale_after_s = {SWITCH_STALE_S}
{feeds}
[grid_connection]
import_limit_kw = {grid.import_kw}
export_limit_kw = {grid.export_kw}
margin_kw = 20
meter_lost_after_s = {METER_LOST_AFTER_S}
[grid_connection.failsafe]
hold_min_s = 10
ramp_s = 10
[grid_connection.without_envelope]
names = ["dso"]
import_kw = {design.fallback.import_kw}
export_kw = {design.fallback.export_kw}
[local_limit.ripple]
feed = "ripple_position"
positions = {{ "0" = {{ import_kw = {design.ripple.import_kw}, export_kw = {design.ripple.export_kw} }}, "100" = {{}} }}
silent = {{ import_kw = {design.ripple.import_kw}, export_kw = {design.ripple.export_kw} }}
{"".join(equipment.values())}
[regulator]
stale_after_s = {STALE_AFTER_S}
settle_s = 2
[outbox]
backlog_per_s = 1000
backlog_delay_max_s = 0
gap_grace_s = 1
{models}"""


def _feed(signal: str) -> str:
    unit = "1" if signal.endswith("_position") else "kWh" if signal.endswith("_kwh") else "kW"
    return f"""[feeds.{signal}]
topic = "plant/feed/{signal}"
format = "json"
value_path = "value"
time_path = "time"
unit = "{unit}"
{f"stale_after_s = {ENERGY_STALE_S}" if unit == "kWh" else ""}
"""


def _equipment(design: SiteDesign) -> dict[str, str]:
    tables = {
        BATTERY: f"""[battery.battery]
capacity_kwh = {design.battery_kwh}
charge_max_kw = {design.battery_kw}
discharge_max_kw = {design.battery_kw}
soc_reserve_pu = 0.9
failsafe_kw = {design.battery_safe_kw}
""",
        PV: f"[photovoltaics.pv]\nrated_power_kw = {design.pv_kw}\n",
    }
    tables |= {
        name: f'[charging_station.{name}]\npower_max_kw = {design.charger_kw}\ndeparture = "23:00"\n' for name in CHARGERS
    }
    kinds = {BATTERY: "battery", PV: "photovoltaics"}
    return {
        name: table
        + f"""[{kinds.get(name, "charging_station")}.{name}.output]
topic = "plant/setpoint/{name}"
valid_for_s = {VALID_FOR_S}
repeat_s = 10
confirm_after_s = 5
when_silent = {design.when_silent_kw[name]}
on_leave = "failsafe"
"""
        for name, table in tables.items()
    }
