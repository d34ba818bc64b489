"""The command line of every program: a version, a table of commands that exist, one line instead of a traceback."""

import json
import os
import subprocess
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ringmain_program.command import (
    EXIT_CONFIG,
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_PIPE,
    Outcome,
    as_lines,
    finish,
    load,
    run_program,
    write_result,
)
from ringmain_program.config import ConfigError

SAMPLE = Path(__file__).parents[3] / "deploy" / "config"
PROGRAMS = {
    "ringmain-agent": "ringmain_agent",
    "ringmain-bridge": "ringmain_bridge",
    "ringmain-trainer": "ringmain_trainer",
    "ringmain-simulate": "ringmain_simulation",
}


def main_module(package: str) -> ModuleType:
    return import_module(f"{package}.__main__")


@pytest.mark.parametrize(("name", "package"), PROGRAMS.items())
def test_every_program_says_its_version(name: str, package: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main_module(package).main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"{name} {version('ringmain')}\n"


def test_a_module_that_is_imported_in_vain_is_loaded_at_its_first_use() -> None:
    """In a process of its own: this one has long loaded it."""
    script = """
import sys
from ringmain_program.command import load
load("ringmain_agent.commands.run:run", at_use=("urllib.request", "xml.sax"))
assert "http.client" not in sys.modules
import urllib.request
import xml.sax as sax
assert urllib.request.Request("http://a/b").host == "a"
assert sys.modules["urllib.request"] is urllib.request
assert sax.SAXException.__module__ == "xml.sax._exceptions"
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("package", PROGRAMS.values())
def test_every_command_of_the_parser_is_in_the_table_and_can_be_loaded(
    package: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A table of texts is checked by nobody else: neither by mypy nor by import-linter."""
    module = main_module(package)
    for name, place in module.COMMANDS.items():
        assert callable(load(place))
        with pytest.raises(SystemExit) as ended:
            module.main([name, "--help"])
        assert ended.value.code == 0
    with pytest.raises(SystemExit):
        module.main(["--help"])
    assert "{" + ",".join(module.COMMANDS) + "}" in capsys.readouterr().out


@pytest.mark.parametrize("package", PROGRAMS.values())
def test_a_program_that_is_only_asked_for_help_loads_no_command(package: str) -> None:
    """What a command needs beyond msgspec must not cost the start of another one, nor be missed by it."""
    heavy = {"numpy", "onnxruntime", "highspy", "polars", "sklearn", "paho", "confluent_kafka", "rich", "tuf"}
    code = f"import sys, {package}.__main__; print(*({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize(
    ("package", "command", "unbuffered"),
    [
        ("ringmain_agent", ["check", "--config", str(SAMPLE / "agent.toml")], ""),
        ("ringmain_agent", ["check", "--config", str(SAMPLE / "agent.toml")], "1"),
        ("ringmain_agent", ["--help"], ""),
        ("ringmain_bridge", ["check", "--offline", "--config", str(SAMPLE / "bridge.toml"), "--json"], ""),
        ("ringmain_trainer", ["--version"], "1"),
    ],
)
def test_a_closed_pipe_ends_a_program_quietly(package: str, command: list[str], unbuffered: str) -> None:
    """`| head` reads some lines and goes; what is left to say is no error, whether it fails at once or at the end."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", package, *command],
            stdout=writing,
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
            check=False,
            timeout=60,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (EXIT_PIPE, b"")


def test_another_broken_pipe_is_an_error() -> None:
    def program() -> int:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        run_program(program, extra="agent")


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (ConfigError("site.toml: sit: unknown key"), EXIT_CONFIG, "site.toml: sit: unknown key\n"),
        (ModuleNotFoundError(name="numpy.linalg"), EXIT_FAILED, "pip install 'ringmain[agent]'\n"),
        (ModuleNotFoundError(name="matplotlib"), EXIT_FAILED, "matplotlib is not installed: pip install 'ringmain[plot]'\n"),
    ],
)
def test_what_only_a_person_can_mend_is_one_line(
    error: Exception, status: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def program() -> int:
        raise error

    assert run_program(program, extra="agent", other_extras={"matplotlib": "plot"}) == status
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.endswith(text)


@pytest.mark.parametrize("name", ["ringmain_agent.nothing", None])
def test_a_module_of_ours_that_is_missing_is_an_error_of_ours(name: str | None) -> None:
    def program() -> int:
        raise ImportError("no such name", name=name)

    with pytest.raises(ImportError):
        run_program(program, extra="agent")


@pytest.mark.parametrize("result", [{"site": "a", "outputs": ["b", "c"], "number": 1.5}, {}])
def test_a_result_is_lines_for_a_person_and_the_same_json_everywhere(
    result: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_result(result, None)
    assert capsys.readouterr().out == as_lines(result) + "\n"
    write_result(result, "-")
    printed = capsys.readouterr().out
    write_result(result, str(tmp_path / "result.json"))
    assert (tmp_path / "result.json").read_text() == printed
    assert json.loads(printed) == result


def test_an_outcome_without_a_result_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert finish(Outcome(status=EXIT_FAILED), "-") == EXIT_FAILED
    assert capsys.readouterr().out == ""
    assert finish(Outcome({"a": ["b", "c"]}), None) == EXIT_DONE
    assert capsys.readouterr().out == "a: b, c\n"
