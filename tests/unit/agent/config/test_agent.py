"""A configuration is right, or everything that is wrong with it is said at once."""

from pathlib import Path

import pytest

from ringmain_agent.__main__ import main
from ringmain_agent.config.agent import load_config
from ringmain_agent.equipment.registry import KINDS
from ringmain_program.command import EXIT_CONFIG
from ringmain_program.config import ConfigError

SAMPLE = Path(__file__).parents[4] / "deploy" / "config" / "agent.toml"


def write(folder: Path, text: str) -> Path:
    path = folder / "agent.toml"
    path.write_text(text, encoding="utf-8")
    return path


def problems(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(write(folder, text))
    return str(caught.value)


def test_every_table_becomes_equipment_of_the_site_under_its_own_name() -> None:
    loaded = load_config(SAMPLE)
    names = {name for kind in KINDS for name in getattr(loaded.config, kind)}
    assert {equipment.name for equipment in loaded.site.equipment} == names
    assert len(names) == len(KINDS)
    assert {g.name: g.curtailable for g in loaded.site.generators} == {"pv": True, "turbine": False}
    assert set(loaded.config.outputs) == names - {"turbine", "t1"}
    assert loaded.site.charging_stations[0].expected[0].energy_kwh == 60.0
    assert loaded.site.transformers[0].rating[0].hours.begin == "16:00"
    assert loaded.site.grid_connection.limit[0].import_limit_kw == 4500.0
    assert [charge.name for charge in loaded.site.tariff.demand_charges] == ["workdays"]
    assert loaded.site.limit_quantile == 0.9
    assert loaded.site.regulator.valid_for_s == 60.0


def test_all_problems_come_in_one_report_with_file_key_and_nearest_name(tmp_path: Path) -> None:
    text = SAMPLE.read_text(encoding="utf-8")
    text = text.replace("capacity_kwh = 4000", "capacity_kw = 4000").replace('unit = "MW"', 'unit = "kg"')
    text = text.replace("import_limit_kw = 4000", "import_limit_kw = -4").replace('site = "uw-114"', 'site = "UW 114"')
    found = problems(tmp_path, text).splitlines()
    assert all(line.startswith(f"{tmp_path / 'agent.toml'}: ") for line in found)
    report = "\n".join(found)
    assert "battery.battery.capacity_kw: unknown key; did you mean `capacity_kwh`?" in report
    assert "battery.battery.capacity_kwh: missing" in report
    assert "feeds.load_kw: unit 'kg' does not fit 'load_kw'; valid are W, kW, MW" in report
    assert "grid_connection.import_limit_kw: Expected `float` >= 0" in report
    assert "site: Expected `str` matching regex" in report


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("capacity_kwh = 4000", "capacity_kwh = 4000\nsoc_min_pu = 0.9\nsoc_max_pu = 0.2", "soc_min_pu"),
        ("capacity_kwh = 4000", "capacity_kwh = nan", "not a finite number"),
        ("\ncharge_max_kw = 1500", "\ncharge_max_kw = 0\ncharge_efficiency = 1.2", "charge_efficiency"),
        ('time_zone = "Europe/Amsterdam"', 'time_zone = "Europe/Atlantis"', "not an IANA time zone"),
        ("[feeds.battery_soc_kwh]", "[feeds.other_kwh]", "feeds.battery_soc_kwh: missing; battery.battery needs it"),
        ("margin_kw = 80", "margin_kw = 8000", "margin_kw: must be below import_limit_kw"),
        ("rated_power_kva = 5000", "rated_power_kva = 0", "transformer.t1.rated_power_kva: Expected `float` > 0"),
        ("rated_power_kva = 5000", "rated_power_kva = 5000\nshare = 1.2", "transformer.t1.share: Expected `float` <= 1.0"),
        (
            "rated_power_kva = 5000",
            'rated_power_kva = 5000\nname = "t2"',
            "transformer.t1.name: the name of an equipment is",
        ),
        (
            "rated_power_kw = 800",
            "rated_power_kw = 800\ncurtailable = true",
            "wind.turbine.curtailable: a plant is curtailable if it has an output",
        ),
        ("run_h = 3.0", "run_h = 25.0", "on_off_load.mill.run_h: Expected `float` <= 24.0"),
        ('arrival = "17:30"', 'arival = "17:30"', "charger.expected[0].arival: unknown key; did you mean `arrival`?"),
        ('arrival = "17:30"', 'arrival = "25:30"', "charging_station.charger.expected[0].arrival"),
        ("loading_max_pu = 1.6", "loading_max_pu = 9", "transformer.t1.rating[0].loading_max_pu"),
        ("import_limit_kw = 4500", "import_limit_kw = -1", "grid_connection.limit[0].import_limit_kw"),
        ("per_kw = 3.5", "per_kv = 3.5", "tariff.demand_charge[0].per_kv: unknown key; did you mean `per_kw`?"),
        ("[feeds.voltage_pu]", "[feeds.volts_pu]", "feeds.voltage_pu: missing; busbar needs it"),
        ("[feeds.tap_position]", "[feeds.tab_position]", "tap_changer.tap needs it; is it `tab_position`?"),
        ("[feeds.charger_energy_kwh]", "[feeds.x_kwh]", "charging_station.charger needs it"),
        ("[feeds.store_degc]", "[feeds.x_degc]", "thermal_load.store needs it"),
        ("[wind.turbine]", "[wind.pv]", "equipment names must differ"),
        ('[flexible_load.pump.output]\ntopic = "station/pump/setpoint"', "", "flexible_load.pump.output: missing"),
        ("position_max = 8", "position_max = -9", "position_min -8 must be below position_max -9"),
        ("price_series = ", "price_serie = ", "tariff.price_serie: unknown key; did you mean `price_series`?"),
        ('ca_file = "ca.pem"', 'certificate_file = "site.pem"', "certificate_file and key_file go together"),
        ('payload = \'{"watts": $power', 'payload = \'{"watts": $watts', "$watts"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, before: str, after: str, expected: str) -> None:
    text = SAMPLE.read_text(encoding="utf-8")
    assert before in text
    assert expected in problems(tmp_path, text.replace(before, after))


def test_shares_of_transformers_that_exceed_the_whole_are_refused(tmp_path: Path) -> None:
    text = SAMPLE.read_text(encoding="utf-8").replace("rated_power_kva = 5000", "rated_power_kva = 5000\nshare = 0.7")
    more = "\n[transformer.t2]\nrated_power_kva = 5000\nshare = 0.6\n"
    assert "transformer: the shares add up to 1.3" in problems(tmp_path, text + more)


def test_a_wrong_configuration_ends_with_status_78(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--config", str(write(tmp_path, "sit = 1"))]) == EXIT_CONFIG
    assert "did you mean `site`?" in capsys.readouterr().err
    assert main(["run", "--config", str(tmp_path / "none.toml")]) == EXIT_CONFIG
    assert "cannot be read" in capsys.readouterr().err
    assert main(["run", "--config", str(write(tmp_path, "[[["))]) == EXIT_CONFIG
    assert "not valid TOML" in capsys.readouterr().err


def test_transformer_without_power_is_refused_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    path.write_text(SAMPLE.read_text(encoding="utf-8") + "\n[transformer.zero]\nrated_power_kva = 0\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"transformer\.zero|transformer\[\.\.\.\]|rated_power_kva"):
        load_config(path)
