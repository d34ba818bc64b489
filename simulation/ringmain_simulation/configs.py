"""The TOML files of the real programs for a simulated site, as a field engineer would write them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from ringmain_simulation import plant
from ringmain_simulation.scenario import Scenario
from ringmain_simulation.series import PRICE
from ringmain_simulation.site import BATTERY, PV, SIGNALS, SiteDesign

Address = tuple[str, int]

HOLIDAYS: Final = ("2020-12-25", "2020-12-26", "2021-01-01")
"""Dutch public holidays in the time of the excerpt."""

WEATHER: Final = ("temperature_degc", "radiation_w_per_m2", "windspeed_m_per_s")
METER_CYCLES: Final = 3
"""The meter counts as lost after so many cycles: it sends one value a cycle."""
VALID_FOR_S: Final = 600
RESERVE_PU: Final = 0.6
"""Share of the battery reserved for the import limit, its purpose; the rest may trade."""
_UNITS: Final = {"kw": "kW", "kwh": "kWh", "degc": "degC"}


def write_agent_config(  # noqa: PLR0913  keyword-only: one file
    folder: Path,
    design: SiteDesign,
    scenario: Scenario,
    *,
    local: Address,
    upstream: Address | None = None,
    repository: str | None = None,
    root: Path | None = None,
) -> Path:
    """Write `site.toml` of one site into a folder; returns its path.

    Args:
        folder: Folder of the file and of the agent's state; made if missing.
        design: Equipment and limits of the site.
        scenario: Its cycle sets the maximum age of a measurement.
        local: Broker of feeds and setpoints.
        upstream: Broker of all other messages; the local one if not given.
        repository: Address or folder of the signed models; without it the agent has no `[models]`.
        root: The first root of trust of that repository.
    """
    battery = design.battery
    tables = [
        f'site = "{design.site}"\ntime_zone = "{scenario.time_zone}"\nmode = "control"\nstate_folder = "state"',
        "status_interval_s = 1\n",
        _broker("local", local),
        _broker("upstream", upstream or local),
        f'[switch]\ntopic = "{plant.switch(design.site)}"\nretained = true\n',
        *(_feed(design.site, signal) for signal in SIGNALS),
        f"""[grid_connection]
import_limit_kw = {design.import_limit_kw}
export_limit_kw = {design.export_limit_kw}
margin_kw = {design.margin_kw}
meter_lost_after_s = {METER_CYCLES * scenario.cycle_s}
""",
        f"""[battery.{BATTERY}]
capacity_kwh = {battery.capacity_kwh}
charge_max_kw = {battery.charge_max_kw}
discharge_max_kw = {battery.discharge_max_kw}
charge_efficiency = {battery.charge_efficiency}
discharge_efficiency = {battery.discharge_efficiency}
soc_min_pu = {battery.soc_min_pu}
soc_max_pu = {battery.soc_max_pu}
soc_reserve_pu = {RESERVE_PU}
soc_target_pu = {battery.soc_start_pu}
""",
        _output("battery", BATTERY, design.site, scenario) + "when_silent = 0.0\n",
        f"[photovoltaics.{PV}]\nrated_power_kw = {design.pv_rated_power_kw}\n",
        _output("photovoltaics", PV, design.site, scenario),
        f"""[tariff]
import_price_per_kwh = 0.045
export_price_per_kwh = 0.04
price_series = "{PRICE}"
import_surcharge_per_kwh = 0.02
""",
        "[outbox]\nbacklog_per_s = 5000\nbacklog_delay_max_s = 0.5\ngap_grace_s = 10\n",
        f"[regulator]\nstale_after_s = {3 * scenario.cycle_s}\nvalid_for_s = {VALID_FOR_S}\n",
    ]
    if repository is not None and root is not None:
        tables.append(
            f'[models]\nrepository = "{repository}"\nroot = "{root.resolve()}"\ncheck_every_s = 900\ncheck_delay_max_s = 0\n'
        )
    return _write(folder / "site.toml", tables)


def write_bridge_config(folder: Path, *, mqtt: Address, kafka: str, http_port: int, receipt_interval_s: float = 2.0) -> Path:
    """Write `bridge.toml` into a folder; returns its path."""
    host, port = mqtt
    tables = [
        "replica = 0\nreplicas = 1\n",
        f'[mqtt]\nhost = "{host}"\nport = {port}\n',
        f'[kafka]\nbootstrap_servers = "{kafka}"\n',
        f'[http]\nlisten = "127.0.0.1"\nport = {http_port}\n',
        f"[limits]\nreceipt_interval_s = {receipt_interval_s}\n",
    ]
    return _write(folder / "bridge.toml", tables)


def write_trainer_config(folder: Path, *, kafka: str, scenario: Scenario) -> Path:
    """Write `trainer.toml` into a folder; returns its path. History, models, keys and repository go into the same folder."""
    tables = [
        'history = "history"\nrepository = "repository"\nkeys = "keys"\ncandidates = "candidates"',
        f'time_zone = "{scenario.time_zone}"\nholidays = {_array(HOLIDAYS)}\n',
        f'[kafka]\nbootstrap_servers = "{kafka}"\n',
        f'[[model]]\nsignal = "load_kw"\nhistory = ["load_kw", "temperature_degc"]\nseries = {_array(WEATHER)}\n',
        f'[[model]]\nsignal = "pv_kw"\nhistory = ["pv_kw"]\nseries = {_array([*WEATHER, "cloud_pct"])}\n',
    ]
    return _write(folder / "trainer.toml", tables)


def _broker(name: str, address: Address) -> str:
    return f'[mqtt.{name}]\nhost = "{address[0]}"\nport = {address[1]}\n'


def _feed(site: str, signal: str) -> str:
    return f"""[feeds.{signal}]
topic = "{plant.feed(site, signal)}"
format = "json"
value_path = "value"
time_path = "time"
unit = "{_UNITS[signal.rsplit("_", 1)[1]]}"
hold_s = 900
"""


def _output(table: str, equipment: str, site: str, scenario: Scenario) -> str:
    return f"""[{table}.{equipment}.output]
topic = "{plant.setpoint(site, equipment)}"
unit = "kW"
valid_for_s = {VALID_FOR_S}
repeat_s = 60
confirm_after_s = {2 * scenario.cycle_s}
"""


def _array(names: Iterable[str]) -> str:
    return "[" + ", ".join(f'"{name}"' for name in names) + "]"


def _write(path: Path, tables: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(tables), encoding="utf-8")
    return path
