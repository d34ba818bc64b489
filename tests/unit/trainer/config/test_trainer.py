"""What contradicts itself in the configuration is refused, and paths are relative to it."""

from pathlib import Path

import pytest

from ringmain_program.config import ConfigError, loads
from ringmain_trainer.config.trainer import TrainerConfig, load_config


@pytest.mark.parametrize(
    "text",
    [
        'time_zone = "Europe/Atlantis"',
        'holidays = ["25 December"]',
        "[training]\nstep_s = 1000",
        "[training]\nhistory_steps = 600",
        "[training]\nquantiles = [0.1, 0.9]",
        "[training]\nquantiles = [0.9, 0.5]",
        "[training]\nlag_days = [7, 1]",
        "[training]\nlag_days = [1, 14]",
        "[estimators.ridge]\nalpha = []",
        "[estimators.hist_gradient_boosting]\nseeds = 2",
        "[estimators.ridge]\nalphas = [1.0]",
        '[[model]]\nsignal = "load_kw"\nhistory = ["load_kw"]\nestimators = []',
        '[[model]]\nsignal = "load_kw"\nhistory = ["load_kw"]\nestimators = ["ridge", "ridge"]',
        '[[model]]\nsignal = "load_kw"\nhistory = ["load_kw"]\nestimators = ["k_neighbors"]',
        "[training]\njobs = 0",
        '[kafka]\nkey_file = "a"',
        '[kafka]\nsecurity_protocol = "sasl_ssl"',
        '[[model]]\nsignal = "load_kw"\nhistory = ["temperature_degc", "load_kw"]',
        '[[model]]\nsignal = "load_kw"\nhistory = ["load_kw", "load_kw"]',
        '[[model]]\nsignal = "load_kw"\nhistory = ["load_kw"]\n[[model]]\nsignal = "load_kw"\nhistory = ["load_kw"]',
    ],
)
def test_contradictions_are_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        loads(text, TrainerConfig)


def test_paths_are_relative_to_the_configuration_and_urls_stay(tmp_path: Path) -> None:
    path = tmp_path / "trainer.toml"
    path.write_text('history = "s3://bucket/history"\nkeys = "../keys"\n')
    config = load_config(path, kafka="broker:1")
    assert config.history == "s3://bucket/history"
    assert config.repository == str(tmp_path / "repository")
    assert config.keys == str(tmp_path.parent / "keys")
    assert config.kafka.bootstrap_servers == "broker:1"
    assert load_config(path, history="elsewhere").history == str(Path.cwd() / "elsewhere")


def test_files_that_are_not_there_are_all_named(tmp_path: Path) -> None:
    path = tmp_path / "trainer.toml"
    path.write_text('[kafka]\nca_file = "ca.pem"\ncertificate_file = "c.pem"\nkey_file = "c.key"\n')
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert len(str(caught.value).splitlines()) == 3
