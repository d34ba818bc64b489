"""Step values from elsewhere give a new site its first window, and nothing that it measured is overwritten."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from ringmain_agent.commands.import_history import import_history, read_history
from ringmain_agent.config.agent import LoadedConfig, load_config
from ringmain_agent.gateway.state_file import StateFile
from ringmain_program.config import ConfigError
from ringmain_protocol.steps import StepValue

SAMPLE = Path(__file__).parents[4] / "deploy" / "config" / "agent.toml"


@pytest.fixture
def loaded(tmp_path: Path) -> LoadedConfig:
    path = tmp_path / "agent.toml"
    path.write_text(SAMPLE.read_text(encoding="utf-8"), encoding="utf-8")
    return load_config(path)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def make(text: str) -> Path:
        path = tmp_path / "history.csv"
        path.write_text(text, encoding="utf-8")
        return path

    return make


def steps(loaded: LoadedConfig) -> list[tuple[str, int, float | None]]:
    state = StateFile(loaded.path("state") / "agent.sqlite3", outbox_messages_max=1000)
    try:
        return list(state.steps())
    finally:
        state.close()


def test_values_are_there_for_the_next_start(loaded: LoadedConfig, write: Callable[[str], Path]) -> None:
    path = write("time,load_kw,pv_kw\n2026-01-01T00:00:00Z,1.5,-2\n2026-01-01T01:15:00+01:00,,-3\n2026-01-01T00:30:00Z,4,\n")
    assert import_history(path, loaded) == 4
    first = 1_767_225_600_000
    assert sorted(steps(loaded)) == [
        ("load_kw", first, 1.5),
        ("load_kw", first + 1_800_000, 4.0),
        ("pv_kw", first, -2.0),
        ("pv_kw", first + 900_000, -3.0),
    ]


def test_a_packed_file_is_read(loaded: LoadedConfig, tmp_path: Path) -> None:
    path = tmp_path / "history.csv.gz"
    path.write_bytes(gzip.compress(b"time,load_kw\n2026-01-01T00:00:00Z,1\n"))
    assert len(read_history(path, loaded)) == 1


def test_what_the_agent_measured_itself_is_kept(loaded: LoadedConfig, write: Callable[[str], Path]) -> None:
    state = StateFile(loaded.path("state") / "agent.sqlite3", outbox_messages_max=1000)
    first = 1_767_225_600_000
    state.add_steps([StepValue("load_kw", first, 7.0, 0)], forget_before_ms=0)
    state.set_fact("open_start_ms", first + 900_000)
    assert state.commit()
    state.close()
    path = write("time,load_kw\n2025-12-31T23:45:00Z,1\n2026-01-01T00:00:00Z,2\n2026-01-01T00:15:00Z,3\n")
    assert import_history(path, loaded) == 1  # one is its own, one is not over yet
    assert sorted(steps(loaded)) == [("load_kw", first - 900_000, 1.0), ("load_kw", first, 7.0)]


def test_the_state_of_a_running_agent_is_left_alone(loaded: LoadedConfig, write: Callable[[str], Path]) -> None:
    running = StateFile(loaded.path("state") / "agent.sqlite3", outbox_messages_max=1000)
    try:
        with pytest.raises(ConfigError, match="stop the agent first"):
            import_history(write("time,load_kw\n2026-01-01T00:00:00Z,1\n"), loaded)
    finally:
        running.close()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("when,load_kw\n", "columns must be `time`"),
        ("time,load_mw\n", "columns must be `time`"),
        ("time,load_kw\n2026-01-01T00:00:00,1\n", "line 2: time has no UTC offset"),
        ("time,load_kw\n2026-01-01T00:01:00Z,1\n", "line 2: time is not the START of a step"),
        ("time,load_kw\n2026-01-01T00:00:00Z,1\n2026-01-01T00:15:00Z,x\n", "line 3: could not convert"),
        ("time,load_kw\n2026-01-01T00:00:00Z,nan\n", "line 2: a value is not finite"),
        ("time,load_kw\n2026-01-01T00:00:00Z,1e300\n", "line 2"),
        ("", "columns must be `time`"),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(
    loaded: LoadedConfig, write: Callable[[str], Path], text: str, expected: str
) -> None:
    with pytest.raises(ConfigError, match=r"history\.csv") as caught:
        import_history(write(text), loaded)
    assert expected in str(caught.value)


def test_a_missing_or_damaged_file_is_refused(loaded: LoadedConfig, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        read_history(tmp_path / "none.csv", loaded)
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(b"time,load_kw\n" * 100)[:-20])
    with pytest.raises(ConfigError):
        read_history(tmp_path / "cut.csv.gz", loaded)
