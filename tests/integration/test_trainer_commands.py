"""The commands: exit statuses, results on standard output or in a file, logs on standard error."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ringmain_trainer.__main__ import main

CONFIG = """
[training]
forecasts_min = 40
jobs = 1
[[model]]
signal = "load_kw"
history = ["load_kw", "temperature_degc"]
series = ["temperature_degc"]
"""


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "trainer.toml"
    path.write_text(CONFIG)
    return str(path)


def test_from_history_to_a_release(
    tmp_path: Path,
    config: str,
    capsys: pytest.CaptureFixture[str],
    site_values: Callable[..., dict[str, Any]],
    write_history: Callable[..., None],
) -> None:
    write_history(tmp_path / "history", "liander-287", site_values(20))
    write_history(tmp_path / "history", "liander-307", site_values(3))
    assert main(["history", "--config", config]) == 0
    assert "table=steps site=liander-287 signal=load_kw rows=1920" in capsys.readouterr().out
    assert main(["history", "--compact", "--config", config]) == 0
    assert "table=series files_before=" in capsys.readouterr().out
    assert main(["train", "--config", config, "--json", str(tmp_path / "train.json")]) == 0
    assert capsys.readouterr().out == ""
    trained = json.loads((tmp_path / "train.json").read_text())
    assert {result["site"]: result["trained"] for result in trained} == {"liander-287": True, "liander-307": False}
    assert main(["publish", "--config", config]) == 1  # there is no repository yet
    assert main(["repository", "init", "--config", config]) == 0
    assert str(tmp_path / "repository" / "metadata" / "1.root.json") in capsys.readouterr().out
    assert main(["publish", "--config", config, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["paths"] == ["models/load_kw/liander-287/1.onnx"]
    assert main(["repository", "refresh", "--config", config]) == 0
    assert main(["repository", "renew-root", "--config", config]) == 0
    assert main(["repository", "init", "--config", config]) == 1


def test_training_fails_only_if_nothing_could_be_trained(
    tmp_path: Path, config: str, site_values: Callable[..., dict[str, Any]], write_history: Callable[..., None]
) -> None:
    assert main(["train", "--config", config]) == 1
    write_history(tmp_path / "history", "liander-287", site_values(3))
    assert main(["train", "--config", config]) == 1
    write_history(tmp_path / "elsewhere", "liander-287", site_values(20))
    assert main(["train", "--config", config, "--history", str(tmp_path / "elsewhere")]) == 0


def test_training_without_a_model_in_the_configuration_is_a_configuration_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "trainer.toml"
    path.write_text("")
    assert main(["train", "--config", str(path)]) == 78
    assert "[[model]]" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["forget"],
        ["train"],
        ["train", "--config", "x", "--until", "2020-12-01T00:00:00"],
        ["publish", "--config", "x", "--announce", "broker"],
        ["repository", "--config", "x"],
    ],
)
def test_a_wrong_call_is_said_with_the_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: ringmain-trainer" in capsys.readouterr().err
