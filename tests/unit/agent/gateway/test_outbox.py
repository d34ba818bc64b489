"""Messages leave the outbox by receipt only, and go again on evidence only."""

import resource
import shutil
from pathlib import Path

import pytest

from ringmain_agent.config.outbox import OutboxLimits
from ringmain_agent.gateway.outbox import Outbox
from ringmain_agent.gateway.state_file import StateFile
from ringmain_protocol.messages import Readings, Receipt

LIMITS = OutboxLimits(backlog_per_s=10.0, backlog_delay_max_s=4.0, gap_grace_s=60.0)


@pytest.fixture
def state(tmp_path: Path) -> StateFile:
    return StateFile(tmp_path / "agent.sqlite3", outbox_messages_max=1000)


def put(outbox: Outbox, state: StateFile, count: int) -> None:
    for i in range(count):
        outbox.add("readings", Readings, signals=["load_kw"], at_ms=[i], values=[1.0], quality=[0])
    assert state.commit()


def sequences(rows: list[tuple[int, str, bytes]]) -> list[int]:
    return [sequence for sequence, _, _ in rows]


def test_live_messages_go_at_once_and_once(state: StateFile) -> None:
    outbox = Outbox(state, LIMITS)
    put(outbox, state, 3)
    assert sequences(outbox.due(now_s=0.0, room=2)) == [1, 2]
    assert sequences(outbox.due(now_s=0.0, room=2)) == [3]
    assert outbox.due(now_s=1e6, room=2) == []


def test_only_a_receipt_of_this_stream_empties_the_outbox(state: StateFile) -> None:
    outbox = Outbox(state, LIMITS)
    put(outbox, state, 5)
    outbox.due(now_s=0.0, room=10)
    outbox.receive(Receipt(stream="0" * 32, ranges=[(1, 5)]), now_s=0.0)
    assert state.outbox_messages == 5
    outbox.receive(Receipt(stream=outbox.stream, ranges=[(1, 2), (4, 5)]), now_s=0.0)
    assert state.outbox_messages == 1
    assert sequences(state.messages_after(0, 10)) == [3]


def test_a_receipt_for_what_was_never_sent_deletes_nothing(state: StateFile) -> None:
    outbox = Outbox(state, LIMITS)
    put(outbox, state, 5)
    outbox.due(now_s=0.0, room=2)
    outbox.receive(Receipt(stream=outbox.stream, ranges=[(0, 2**62)]), now_s=0.0)
    assert sequences(outbox.due(now_s=0.0, room=10)) == [3, 4, 5]


def test_a_gap_goes_again_after_the_grace_and_not_before(state: StateFile) -> None:
    outbox = Outbox(state, LIMITS)
    put(outbox, state, 5)
    outbox.due(now_s=0.0, room=10)
    outbox.receive(Receipt(stream=outbox.stream, ranges=[(1, 2), (4, 4)]), now_s=1.0)
    assert outbox.due(now_s=60.0, room=10) == []
    assert sequences(outbox.due(now_s=61.0, room=10)) == [3]  # no further receipt is needed for that
    assert outbox.due(now_s=120.0, room=10) == []
    assert sequences(outbox.due(now_s=121.0, room=10)) == [3]
    outbox.receive(Receipt(stream=outbox.stream, ranges=[(1, 4)]), now_s=122.0)
    assert outbox.due(now_s=1e6, room=10) == []


def test_silence_alone_sends_nothing_again(state: StateFile) -> None:
    outbox = Outbox(state, LIMITS)
    put(outbox, state, 5)
    outbox.due(now_s=0.0, room=10)
    assert outbox.due(now_s=1e9, room=10) == []


def test_after_a_reconnect_the_backlog_drains_at_its_rate_beside_live_messages(state: StateFile) -> None:
    outbox = Outbox(state, LIMITS)
    put(outbox, state, 40)
    outbox.due(now_s=0.0, room=100)
    outbox.reconnected(now_s=100.0, jitter=0.5)
    assert outbox.due(now_s=101.9, room=100) == []
    assert sequences(outbox.due(now_s=102.0, room=100)) == [1]
    put(outbox, state, 1)
    rows = sequences(outbox.due(now_s=103.0, room=100))
    assert rows[0] == 41
    assert rows[1:] == list(range(2, 2 + len(rows) - 1))
    assert 8 <= len(rows) - 1 <= 11
    sent = [s for second in range(104, 110) for s in sequences(outbox.due(now_s=float(second), room=100))]
    assert sent[-1] == 40
    assert outbox.due(now_s=200.0, room=100) == []


def test_sequences_go_on_after_a_restart_and_the_stream_stays(tmp_path: Path) -> None:
    state = StateFile(tmp_path / "a.sqlite3", outbox_messages_max=1000)
    outbox = Outbox(state, LIMITS)
    put(outbox, state, 3)
    outbox.due(now_s=0.0, room=10)
    outbox.receive(Receipt(stream=outbox.stream, ranges=[(1, 3)]), now_s=0.0)
    assert state.outbox_messages == 0
    state.close()
    again = StateFile(tmp_path / "a.sqlite3", outbox_messages_max=1000)
    other = Outbox(again, LIMITS)
    assert other.stream == outbox.stream
    put(other, again, 1)
    assert sequences(again.messages_after(0, 10)) == [4]


def test_a_full_outbox_drops_the_oldest_and_counts_them(tmp_path: Path) -> None:
    state = StateFile(tmp_path / "a.sqlite3", outbox_messages_max=100)
    outbox = Outbox(state, LIMITS)
    put(outbox, state, 70)
    put(outbox, state, 70)
    assert (state.outbox_messages, state.dropped) == (100, {"outbox_full": 40})
    assert sequences(state.messages_after(0, 1)) == [41]


def test_a_full_disk_drops_messages_with_a_count_and_keeps_state_for_later(tmp_path: Path) -> None:
    state = StateFile(tmp_path / "a.sqlite3", outbox_messages_max=100_000)
    outbox = Outbox(state, LIMITS)
    state._db.execute("PRAGMA max_page_count = 40")  # noqa: SLF001  the disk ends here
    state.set_fact("kept", 1)
    for _ in range(2000):
        outbox.add("readings", Readings, signals=["load_kw"] * 50, at_ms=[1] * 50, values=[1.0] * 50, quality=[0] * 50)
    assert not state.commit()
    assert state.dropped == {"disk_full": 2000}
    assert "full" in state.trouble
    state._db.execute("PRAGMA max_page_count = 100000")  # noqa: SLF001
    assert state.commit()
    assert (state.fact("kept"), state.trouble) == (1, "")


def test_a_killed_agent_starts_on_a_full_disk_with_everything_that_was_committed(state: StateFile, tmp_path: Path) -> None:
    put(Outbox(state, LIMITS), state, 3)
    after_kill = tmp_path / "after-kill"
    after_kill.mkdir()
    for path in tmp_path.glob("agent.sqlite3*"):
        shutil.copy(path, after_kill)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        again = StateFile(after_kill / "agent.sqlite3", outbox_messages_max=1000)
        outbox = Outbox(again, LIMITS)
        assert sequences(again.messages_after(0, 10)) == [1, 2, 3]
        outbox.add("readings", Readings, signals=["load_kw"], at_ms=[9], values=[1.0], quality=[0])
        assert not again.commit()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    put(outbox, again, 1)
    assert sequences(again.messages_after(0, 10)) == [1, 2, 3, 5]
