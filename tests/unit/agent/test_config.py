"""A configuration is right, or everything that is wrong with it is said at once."""

import re
from pathlib import Path

import pytest

from ringmain_agent.__main__ import main
from ringmain_agent.config import load_config
from ringmain_toml import EXIT_CONFIG, ConfigError

SAMPLE = Path(__file__).parents[3] / "deploy" / "config" / "agent.toml"


def write(folder: Path, text: str) -> Path:
    path = folder / "agent.toml"
    path.write_text(text, encoding="utf-8")
    return path


def problems(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(write(folder, text))
    return str(caught.value)


def test_the_sample_decodes_as_it_stands_and_with_every_default_written_out(tmp_path: Path) -> None:
    as_it_stands = load_config(SAMPLE).config
    uncommented = re.sub(r"^# (?=[a-z_]+ =)", "", SAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert "\n# " not in uncommented
    assert load_config(write(tmp_path, uncommented)).config == as_it_stands


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
        ('ca_file = "ca.pem"', 'certificate_file = "site.pem"', "certificate_file and key_file go together"),
        ('payload = \'{"watts": $power', 'payload = \'{"watts": $watts', "$watts"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, before: str, after: str, expected: str) -> None:
    text = SAMPLE.read_text(encoding="utf-8")
    assert before in text
    assert expected in problems(tmp_path, text.replace(before, after))


def test_a_wrong_configuration_ends_with_status_78(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--config", str(write(tmp_path, "sit = 1"))]) == EXIT_CONFIG
    assert "did you mean `site`?" in capsys.readouterr().err
    assert main(["run", "--config", str(tmp_path / "none.toml")]) == EXIT_CONFIG
    assert "cannot be read" in capsys.readouterr().err
    assert main(["run", "--config", str(write(tmp_path, "[[["))]) == EXIT_CONFIG
    assert "not valid TOML" in capsys.readouterr().err


def test_check_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--config", str(SAMPLE), "--json"]) == 0
    assert '"site": "uw-114"' in capsys.readouterr().out
