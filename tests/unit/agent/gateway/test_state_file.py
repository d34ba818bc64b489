"""The state file: everything that was committed is there again, and whatever happens to the file stops nobody."""

import os
import random
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringmain_agent.gateway.state_file import MEMORY_MESSAGES_MAX, StateFile, StateFileInUseError
from ringmain_protocol.steps import Reading, StepValue

PAGE = 4096


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "agent.sqlite3"


def opened(path: Path, *, messages_max: int = 1000) -> StateFile:
    return StateFile(path, outbox_messages_max=messages_max)


def filled(path: Path) -> StateFile:
    """A file in which every table has rows, over several pages."""
    state = opened(path)
    state.add_readings([Reading("load_kw", at_ms, 5.0) for at_ms in range(300)])
    state.keep_newest([Reading("load_kw", 300, 5.0)])
    state.add_steps([StepValue("load_kw", 900_000 * number, 5.5, 0) for number in range(300)], forget_before_ms=0)
    state.set_retained("topic", b"payload")
    state.set_fact("regulator", b"x" * 6000)
    for _ in range(100):
        state.put(state.next_sequence(), "readings", b"p" * 300)
    assert state.commit()
    return state


def used(state: StateFile) -> None:
    """Everything that the agent does with it; nothing may raise."""
    list(state.open_readings())
    list(state.newest())
    list(state.steps())
    state.retained()
    state.fact("regulator")
    state.messages_after(0, 1000)
    state.message(50)
    state.sequences_below(1000, 1000)
    state.delete_messages([(1, 20)])
    state.set_fact("used", 1)
    state.add_readings([Reading("load_kw", 1000, 5.0)])
    state.keep_newest([Reading("load_kw", 1000, 5.0)])
    state.add_steps([StepValue("load_kw", 0, 5.5, 0)], forget_before_ms=0)
    state.set_retained("topic", b"other")
    state.put(state.next_sequence(), "readings", b"{}")
    state.commit()


def test_what_was_committed_is_there_again(path: Path) -> None:
    state = opened(path)
    state.add_readings([Reading("load_kw", 1, 5.0), Reading("load_kw", 2, 6.0)])
    state.keep_newest([Reading("load_kw", 2, 6.0)])
    state.add_steps([StepValue("load_kw", 0, 5.5, 0), StepValue("load_kw", 900_000, None, 2)], forget_before_ms=0)
    state.set_retained("topic", b"payload")
    state.keep_open_readings({"load_kw": 2})
    assert state.commit()
    state.set_fact("lost", 1)  # not committed
    state.close()
    again = opened(path)
    assert list(again.open_readings()) == [Reading("load_kw", 2, 6.0)]
    assert list(again.newest()) == [Reading("load_kw", 2, 6.0)]
    assert list(again.steps()) == [("load_kw", 0, 5.5), ("load_kw", 900_000, None)]
    assert again.retained() == [("topic", b"payload")]
    assert again.fact("lost") is None
    assert (again.stream, again.resumed, again.begun_anew) == (state.stream, True, "")


def test_file_that_is_no_database_is_moved_aside_and_named_until_it_is_removed(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"garbage" * 1000)
    state = opened(path)
    state.set_fact("kept", 1)
    assert state.commit()
    assert "file is not a database" in state.begun_anew
    assert path.with_name("agent.sqlite3.damaged").read_bytes() == b"garbage" * 1000
    state.close()
    again = opened(path)
    assert (again.fact("kept"), again.stream) == (1, state.stream)
    assert again.begun_anew == state.begun_anew
    again.close()
    again = opened(path)
    path.with_name("agent.sqlite3.damaged").unlink()
    again.set_fact("kept", 2)
    assert again.commit()
    assert again.begun_anew == ""
    again.close()
    assert opened(path).begun_anew == ""


def test_only_the_last_damaged_file_is_kept(path: Path) -> None:
    path.parent.mkdir()
    streams = set()
    for content in (b"first" * 1000, b"second" * 1000):
        path.write_bytes(content)
        state = opened(path)
        streams.add(state.stream)
        state.close()
    assert path.with_name("agent.sqlite3.damaged").read_bytes() == b"second" * 1000
    assert sorted(file.name for file in path.parent.iterdir()) == ["agent.sqlite3", "agent.sqlite3.damaged"]
    assert len(streams) == 2


def _spoiled(content: bytes, page: int, kind: str, chance: random.Random) -> bytes:
    start, end = page * PAGE, (page + 1) * PAGE
    if kind == "cut":
        return content[:start]
    spoiled = bytearray(bytes(PAGE) if kind == "zeros" else chance.randbytes(PAGE))
    if kind == "bits":
        spoiled = bytearray(content[start:end])
        for _ in range(8):
            spoiled[chance.randrange(PAGE)] ^= 1 << chance.randrange(8)
    return content[:start] + spoiled + content[end:]


@pytest.mark.parametrize("kind", ["zeros", "noise", "bits", "cut"])
def test_no_damage_to_any_page_stops_the_agent(kind: str, path: Path) -> None:
    filled(path).close()
    content = path.read_bytes()
    pages = len(content) // PAGE
    assert pages > 15
    anew = 0
    for page in range(pages):
        shutil.rmtree(path.parent)
        path.parent.mkdir()
        path.write_bytes(_spoiled(content, page, kind, random.Random(page)))
        state = opened(path)
        used(state)
        assert state.commit()
        assert state.fact("used") == 1
        assert state.stream
        anew += bool(state.begun_anew)
        state.close()
    assert anew >= (0 if kind == "bits" else pages // 2)


def test_damage_while_it_runs_begins_anew_with_the_data_that_waits(path: Path) -> None:
    state = filled(path)
    for _ in range(6000):
        state.put(state.next_sequence(), "readings", b"p" * 1000)
    assert state.commit()
    stream, last = state.stream, state.last_sequence
    state._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # noqa: SLF001
    state._db.execute("PRAGMA shrink_memory")  # noqa: SLF001  what is in memory would hide the damage
    with path.open("r+b") as file:
        file.seek(PAGE)
        file.write(b"\xff" * (path.stat().st_size - PAGE))
    state.set_fact("kept", 1)
    state.put(state.next_sequence(), "readings", b"waits")
    for _ in range(3):
        state.messages_after(0, 1000)
    assert state.commit()
    assert state.stream != stream
    assert state.generation == 1
    assert state.failures
    assert (state.fact("kept"), state.messages_after(0, 10)) == (1, [(last + 1, "readings", b"waits")])
    assert "malformed" in state.begun_anew


def test_file_in_use_is_refused(path: Path) -> None:
    state = opened(path)
    state.set_fact("kept", 1)
    assert state.commit()
    with pytest.raises(StateFileInUseError, match="in use"):
        opened(path)
    assert state.fact("kept") == 1


def test_without_a_folder_memory_serves_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    state = opened(tmp_path / "file" / "agent.sqlite3", messages_max=10**6)
    used(state)
    assert "nothing survives a restart" in state.trouble
    assert state.fact("used") == 1
    for _ in range(MEMORY_MESSAGES_MAX + 5):
        state.put(state.next_sequence(), "readings", b"{}")
    assert state.commit()
    assert state.outbox_messages == MEMORY_MESSAGES_MAX
    assert "nothing survives" in state.trouble


def test_folder_that_comes_late_gets_the_state(tmp_path: Path) -> None:
    (tmp_path / "late").touch()
    state = opened(tmp_path / "late" / "agent.sqlite3")
    used(state)
    (tmp_path / "late").unlink()
    state.set_fact("kept", 1)
    assert state.commit()
    assert state.trouble == ""
    state.close()
    again = opened(tmp_path / "late" / "agent.sqlite3")
    assert (again.stream, again.fact("kept"), again.outbox_messages) == (state.stream, 1, 1)


def test_folder_that_became_a_file_is_said(path: Path) -> None:
    state = filled(path)
    shutil.rmtree(path.parent)
    path.parent.touch()
    for _ in range(2):
        state.set_fact("kept", 1)
        assert state.commit()
        assert "nothing survives a restart" in state.trouble
    path.parent.unlink()
    state.set_fact("kept", 2)
    assert state.commit()
    assert state.trouble == ""
    state.close()
    assert opened(path).fact("kept") == 2


def test_folder_that_is_deleted_is_written_again_with_everything(path: Path) -> None:
    state = filled(path)
    shutil.rmtree(path.parent)
    state.set_fact("kept", 1)
    assert state.commit()
    state.set_fact("further", 1)
    assert state.commit()
    assert state.failures == 1, "counted once, as the status says"
    state.close()
    again = opened(path)
    assert (again.stream, again.outbox_messages, again.fact("kept"), again.fact("further")) == (state.stream, 100, 1, 1)
    assert len(list(again.steps())) == 300


def test_file_that_is_replaced_while_the_agent_runs_is_said(path: Path, tmp_path: Path) -> None:
    filled(tmp_path / "other" / "agent.sqlite3").close()
    state = filled(path)
    (tmp_path / "other" / "agent.sqlite3").replace(path)
    for _ in range(2):
        state.set_fact("kept", 1)
        assert state.commit()
        assert "was replaced" in state.trouble


@pytest.fixture(params=[0o000, 0o022, 0o777])
def _umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.usefixtures("_umask")
def test_folder_and_files_are_for_their_owner_only(path: Path) -> None:
    path.parent.mkdir(mode=0o755)
    path.parent.chmod(0o755)
    path.touch(0o644)
    path.chmod(0o644)
    state = filled(path)
    files = list(path.parent.iterdir())
    assert {file.name for file in files} >= {"agent.sqlite3", "agent.sqlite3-wal"}
    assert {oct(file.stat().st_mode & 0o777) for file in files} == {"0o600"}
    assert oct(path.parent.stat().st_mode & 0o777) == "0o700"
    state.close()


def test_value_that_no_file_can_hold_is_dropped_and_counted(path: Path) -> None:
    state = opened(path)
    state.set_fact("too_large", 2**70)
    state.set_fact("kept", 1)
    assert state.commit()
    assert (state.fact("kept"), state.dropped) == (1, {"not_storable": 1})


def test_full_outbox_drops_by_kind_and_counts_by_kind(path: Path) -> None:
    kinds = ["limit", "steps", "readings", "schedule", "forecast", "setpoint", "of_tomorrow"]
    state = opened(path, messages_max=100)
    for number in range(100):
        state.put(state.next_sequence(), kinds[number % 5], b"{}")
    assert state.commit()

    def put(kind: str, count: int) -> None:
        for _ in range(count):
            state.put(state.next_sequence(), kind, b"{}")
        assert state.commit()

    put("setpoint", 10)
    assert state.dropped == {"outbox_full_setpoint": 10}
    put("readings", 25)
    assert state.dropped == {"outbox_full_setpoint": 10, "outbox_full_forecast": 20, "outbox_full_schedule": 5}
    put("steps", 100)
    assert (state.dropped["outbox_full_schedule"], state.dropped["outbox_full_readings"]) == (20, 45)
    assert state.dropped["outbox_full_steps"] == 40
    put("of_tomorrow", 90)
    assert (state.dropped["outbox_full_steps"], state.dropped["outbox_full_other"]) == (120, 10)
    put("limit", 90)
    assert state.dropped["outbox_full_other"] == 90
    assert state.dropped["outbox_full_limit"] == 10
    assert {kind for _, kind, _ in state.messages_after(0, 1000)} == {"limit"}
    assert state.outbox_messages == 100


def test_dropping_needs_no_look_at_the_whole_outbox(path: Path) -> None:
    state = opened(path)
    query = "SELECT sequence FROM outbox WHERE kind = ? ORDER BY sequence LIMIT ?"
    plan = state._db.execute(f"EXPLAIN QUERY PLAN {query}", ("setpoint", 1)).fetchall()  # noqa: SLF001
    assert "USING COVERING INDEX outbox_by_kind" in plan[0][3]


def test_file_of_another_program_is_moved_aside(path: Path) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE outbox (something TEXT)")
    other.close()
    state = opened(path)
    used(state)
    assert state.fact("used") == 1
    assert state.begun_anew
