"""The trainer's configuration is refused as a whole, with every problem named, and the sample file is complete."""

import re
from pathlib import Path

import msgspec
import pytest

from ringmain_program.config import ConfigError, loads
from ringmain_trainer.__main__ import main
from ringmain_trainer.config.trainer import TrainerConfig, load_config

SAMPLE = Path(__file__).parents[4] / "deploy" / "config" / "trainer.toml"


def test_the_sample_decodes_as_it_stands_to_the_defaults() -> None:
    assert loads(SAMPLE.read_text(), TrainerConfig) == TrainerConfig()


def test_the_sample_with_every_default_uncommented_is_the_defaults() -> None:
    text = re.sub(r"^# (?=\w+ = )", "", SAMPLE.read_text(), flags=re.MULTILINE)
    assert loads(text, TrainerConfig) == TrainerConfig()


def test_the_sample_names_every_key_and_its_examples_are_valid() -> None:
    text = re.sub(r"^## example: |^# (?=\w+ = )", "", SAMPLE.read_text(), flags=re.MULTILINE)
    config = loads(text.replace('"plaintext"', '"sasl_ssl"'), TrainerConfig)
    kafka = msgspec.to_builtins(config.kafka)
    assert [name for name, value in kafka.items() if value is None] == []
    named = set(re.findall(r"^(\w+) = ", text, re.MULTILINE))
    estimators = [getattr(config.estimators, name) for name in config.estimators.__struct_fields__]
    tables = {name for name in config.__struct_fields__ if isinstance(getattr(config, name), msgspec.Struct)} | {"model"}
    parts = (config, *(getattr(config, name) for name in tables - {"model", "estimators"}), config.model[0], *estimators)
    assert {name for part in parts for name in part.__struct_fields__} - tables <= named


def test_all_problems_are_reported_at_once_and_the_exit_status_is_78(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "trainer.toml"
    path.write_text('histroy = "x"\n[training]\njobs = -2\nhorizon_steps = 0\n[[model]]\nsignal = "Load"\n')
    for command in (["ingest"], ["train"], ["publish"], ["repository", "init"], ["history"]):
        assert main([*command, "--config", str(path)]) == 78
        printed = capsys.readouterr()
        assert printed.out == ""
        for problem in ("did you mean `history`?", "training.jobs: ", "training.horizon_steps: ", "model[0].signal: "):
            assert problem in printed.err


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
