"""Messages leave the outbox by receipt only, and go again on evidence only."""

import resource
import shutil
from pathlib import Path

import pytest

from ringmain_agent.config.outbox import OutboxLimits
from ringmain_agent.gateway.outbox import Outbox
from ringmain_agent.gateway.state_file import StateFile
from ringmain_protocol.errors import MessageError
from ringmain_protocol.messages import Readings, Receipt, decode

LIMITS = OutboxLimits(backlog_per_s=10.0, backlog_delay_max_s=4.0, gap_grace_s=60.0)


@pytest.fixture
def state(tmp_path: Path) -> StateFile:
    return StateFile(tmp_path / "agent.sqlite3", outbox_messages_max=1000)


def put(outbox: Outbox, state: StateFile, count: int) -> None:
    for i in range(count):
        outbox.add("readings", Readings, signals=["load_kw"], at_ms=[i], values=[1.0], quality=[0])
    assert outbox.commit()
    assert state.trouble == ""


def restarted(state: StateFile, path: Path) -> tuple[Outbox, StateFile]:
    """The agent after `kill -9`: the file as it is on the disk."""
    state.close()
    again = StateFile(path, outbox_messages_max=1000)
    return Outbox(again, LIMITS), again


def all_due(outbox: Outbox, *, now_s: float) -> list[tuple[int, str, bytes]]:
    """Everything that is sent in the two minutes after a connection."""
    outbox.reconnected(now_s=now_s, jitter=0.0)
    return [row for second in range(1, 120) for row in outbox.due(now_s=now_s + second, room=1000)]


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
    with pytest.raises(MessageError, match="forged"):
        outbox.receive(Receipt(stream=outbox.stream, ranges=[(0, 2**62)]), now_s=0.0)
    outbox.receive(Receipt(stream=outbox.stream, ranges=[(3, 5)]), now_s=0.0)  # committed, not yet handed over
    assert state.outbox_messages == 5
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
    assert (state.outbox_messages, state.dropped) == (100, {"outbox_full_readings": 40})
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


@pytest.mark.parametrize("claimed", [(0, 2**62), (1, 1000), (999, 1000), (1, 1001), (1, 2000)])
def test_what_was_never_sent_survives_every_receipt_after_a_restart(
    claimed: tuple[int, int], state: StateFile, tmp_path: Path
) -> None:
    put(Outbox(state, LIMITS), state, 1000)
    outbox, again = restarted(state, tmp_path / "agent.sqlite3")
    forged = Receipt(stream=outbox.stream, ranges=[claimed])
    reasons = []
    for _ in range(3):
        try:
            outbox.receive(forged, now_s=0.0)
        except MessageError as error:
            reasons.append(error.reason)
    assert again.outbox_messages == 1000
    rows = all_due(outbox, now_s=10.0) + all_due(outbox, now_s=200.0)
    assert set(sequences(rows)) == set(range(1, 1001))
    assert {decode(payload, Readings).stream for _, _, payload in rows} == {outbox.stream}
    assert (
        reasons == ["receipt_refused"] * 3 or again.begun_anew
    )  # an old copy of the file looks the same: once, under another stream


def test_half_sent_backlog_survives_a_receipt_for_all_of_it(state: StateFile, tmp_path: Path) -> None:
    """Live messages go beside the backlog: that a later one was sent says nothing of those before it."""
    put(Outbox(state, LIMITS), state, 500)
    outbox, again = restarted(state, tmp_path / "agent.sqlite3")
    outbox.reconnected(now_s=0.0, jitter=0.0)
    put(outbox, again, 1)
    sent = [sequence for second in range(1, 5) for sequence in sequences(outbox.due(now_s=float(second), room=1000))]
    assert 501 in sent
    assert len(sent) < 60
    outbox.commit()
    for _ in range(2):
        outbox.receive(Receipt(stream=outbox.stream, ranges=[(1, 501)]), now_s=5.0)
        assert set(sequences(again.messages_after(0, 1000))) == set(range(1, 501)) - set(sent)
        outbox, again = restarted(again, tmp_path / "agent.sqlite3")


def test_what_was_sent_just_before_a_kill_goes_again_and_nothing_is_refused(state: StateFile, tmp_path: Path) -> None:
    """The marks are as old as the last commit; the receipt is the bridge's."""
    outbox = Outbox(state, LIMITS)
    put(outbox, state, 10)
    assert len(outbox.due(now_s=0.0, room=100)) == 10
    genuine = Receipt(stream=outbox.stream, ranges=[(1, 10)])
    outbox, again = restarted(state, tmp_path / "agent.sqlite3")
    outbox.receive(genuine, now_s=0.0)
    assert sequences(all_due(outbox, now_s=10.0)) == list(range(1, 11))
    outbox.receive(genuine, now_s=200.0)
    assert (again.outbox_messages, again.begun_anew) == (0, "")


def test_marks_cost_no_commit_of_their_own(state: StateFile) -> None:
    outbox = Outbox(state, LIMITS)
    outbox.due(now_s=0.0, room=10)  # connected
    for number in range(20):
        outbox.add("readings", Readings, signals=["load_kw"], at_ms=[number], values=[1.0], quality=[0])
        assert outbox.commit()
        before = state._db.total_changes  # noqa: SLF001
        assert len(outbox.due(now_s=1.0 + number, room=10)) == 1
        assert state._db.total_changes == before  # noqa: SLF001


def test_messages_that_the_connection_refuses_stay_due_and_are_covered_by_nothing(state: StateFile) -> None:
    outbox = Outbox(state, LIMITS)
    put(outbox, state, 10)
    due = sequences(outbox.due(now_s=0.0, room=10))
    outbox.not_handed_over(due[4:])
    outbox.receive(Receipt(stream=outbox.stream, ranges=[(1, 10)]), now_s=1.0)
    assert sequences(state.messages_after(0, 100)) == [5, 6, 7, 8, 9, 10]
    assert sequences(all_due(outbox, now_s=10.0)) == [5, 6, 7, 8, 9, 10]
    outbox.receive(Receipt(stream=outbox.stream, ranges=[(1, 10)]), now_s=200.0)
    assert state.outbox_messages == 0


@pytest.mark.parametrize("heard_late", [False, True])
def test_old_copy_of_the_file_gives_nobody_numbers_that_were_used(heard_late: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """A backup is put back: upstream knows 300 messages of this stream, the file 200, and 30 of them had no receipt."""
    path = tmp_path / "agent.sqlite3"
    state = StateFile(path, outbox_messages_max=1000)
    outbox = Outbox(state, LIMITS)
    put(outbox, state, 200)
    outbox.due(now_s=0.0, room=1000)
    outbox.receive(Receipt(stream=outbox.stream, ranges=[(1, 170)]), now_s=0.0)
    assert outbox.commit()
    state.close()
    backup = path.read_bytes()
    outbox, state = restarted(state, path)
    put(outbox, state, 100)
    arrived = {(outbox.stream, sequence): payload for sequence, _, payload in all_due(outbox, now_s=0.0)}
    genuine = Receipt(stream=outbox.stream, ranges=[(1, 300)])
    state.close()
    for file in tmp_path.iterdir():
        file.unlink()
    path.write_bytes(backup)
    outbox, state = restarted(state, path)
    outbox.reconnected(now_s=1000.0, jitter=0.0)
    outbox.add("readings", Readings, signals=["load_kw"], at_ms=[777], values=[7.0], quality=[0])
    assert outbox.commit()
    assert outbox.due(now_s=1000.1, room=100) == []  # the retained receipt may still come
    first = outbox.due(now_s=1002.0, room=100) if heard_late else []
    outbox.receive(genuine, now_s=1002.0)
    assert outbox.stream != genuine.stream
    assert "old copy" in state.begun_anew
    rows = all_due(outbox, now_s=1010.0)
    assert state.outbox_messages == 1  # what was handed over before the backup has arrived, by the receipt
    (new,) = [decode(payload, Readings) for _, _, payload in rows]
    assert new.at_ms == [777]
    assert (new.stream, new.sequence) not in arrived
    assert len(first) == heard_late or first
    for _ in range(3):
        with pytest.raises(MessageError, match="forged"):  # a stream of this start has no old copy
            outbox.receive(Receipt(stream=outbox.stream, ranges=[(1, 10_000)]), now_s=1100.0)
    outbox.receive(Receipt(stream=outbox.stream, ranges=[(new.sequence, new.sequence)]), now_s=1100.0)
    assert state.outbox_messages == 0


def test_a_message_of_an_earlier_stream_keeps_its_content(state: StateFile) -> None:
    outbox = Outbox(state, LIMITS)
    outbox.add("readings", Readings, signals=["load_kw"], at_ms=[1], values=[0.1 + 0.2], quality=[0])
    assert outbox.commit()
    (before,) = outbox.due(now_s=0.0, room=10)
    state.begin_stream("a test")
    (after,) = all_due(outbox, now_s=10.0)
    assert after[2].replace(outbox.stream.encode(), b"") == before[2].replace(
        decode(before[2], Readings).stream.encode(), b""
    )
    assert decode(after[2], Readings).stream == outbox.stream == state.stream


def test_damage_while_it_runs_sends_what_waits_under_the_new_stream(tmp_path: Path) -> None:
    path = tmp_path / "agent.sqlite3"
    state = StateFile(path, outbox_messages_max=10_000)
    outbox = Outbox(state, LIMITS)
    put(outbox, state, 5000)
    stream = outbox.stream
    state._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # noqa: SLF001
    state._db.execute("PRAGMA shrink_memory")  # noqa: SLF001
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    outbox.due(now_s=0.0, room=10)
    outbox.add("readings", Readings, signals=["load_kw"], at_ms=[777], values=[1.0], quality=[0])
    assert outbox.commit()
    (row,) = all_due(outbox, now_s=10.0)
    message = decode(row[2], Readings)
    assert (message.stream, message.at_ms) == (state.stream, [777])
    assert state.stream != stream
    outbox.receive(Receipt(stream=state.stream, ranges=[(row[0], row[0])]), now_s=200.0)
    assert state.outbox_messages == 0
