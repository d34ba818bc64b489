"""The state file: everything that was committed is there again."""

import sqlite3
from pathlib import Path

import pytest

from ringmain_agent.gateway.state_file import StateFile
from ringmain_protocol.steps import Reading, StepValue


def test_what_was_committed_is_there_again(tmp_path: Path) -> None:
    state = StateFile(tmp_path / "a.sqlite3", outbox_messages_max=100)
    state.add_readings([Reading("load_kw", 1, 5.0), Reading("load_kw", 2, 6.0)])
    state.keep_newest([Reading("load_kw", 2, 6.0)])
    state.add_steps([StepValue("load_kw", 0, 5.5, 0), StepValue("load_kw", 900_000, None, 2)], forget_before_ms=0)
    state.set_retained("topic", b"payload")
    state.keep_open_readings({"load_kw": 2})
    assert state.commit()
    state.set_fact("lost", 1)  # not committed
    state.close()
    again = StateFile(tmp_path / "a.sqlite3", outbox_messages_max=100)
    assert list(again.open_readings()) == [Reading("load_kw", 2, 6.0)]
    assert list(again.newest()) == [Reading("load_kw", 2, 6.0)]
    assert list(again.steps()) == [("load_kw", 0, 5.5), ("load_kw", 900_000, None)]
    assert again.retained() == [("topic", b"payload")]
    assert again.fact("lost") is None


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.sqlite3").write_bytes(b"garbage" * 1000)
    with pytest.raises(sqlite3.DatabaseError):
        StateFile(tmp_path / "a.sqlite3", outbox_messages_max=100)
