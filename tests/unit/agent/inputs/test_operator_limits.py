"""Messages of the network operator: kept apart from the state file, answered, and never lost unnoticed."""

from pathlib import Path

import pytest

from ringmain_agent.gateway.state_file import StateFile
from ringmain_agent.inputs.envelopes import MAX_ENVELOPES, Envelopes
from ringmain_agent.inputs.feed_messages import RejectedMessages
from ringmain_agent.inputs.instant import Instant
from ringmain_agent.inputs.limits_in_force import limits_in_force
from ringmain_agent.inputs.operator_limits import MAX_ANSWERS, OperatorLimits
from ringmain_agent.site.grid_connection import FailsafeLimits
from ringmain_protocol import topics
from ringmain_protocol.messages import Envelope, EnvelopeAnswer, encode
from support.sites import station

NOW_MS = 1_790_000_000_000
SITE = station(import_limit_kw=1000.0, failsafe=FailsafeLimits(import_kw=10.0))


def envelope(import_kw: float, issued_s: float = 0.0, expires_s: float = 1e6) -> bytes:
    return encode(
        Envelope(
            issued_at_ms=NOW_MS + round(1000 * issued_s), expires_at_ms=NOW_MS + round(1000 * expires_s), priority=1,
            start_ms=NOW_MS, step_s=86_400, import_limit_kw=[import_kw], export_limit_kw=[],
        )
    )  # fmt: skip


class Started:
    """The operator's side of an agent from its start on."""

    def __init__(self, folder: Path) -> None:
        self.state = StateFile(folder / "agent.sqlite3", outbox_messages_max=10)
        self.envelopes, self.rejected = Envelopes(), RejectedMessages()
        self.limits = OperatorLimits(self.envelopes, folder / "limits.json", self.state, self.rejected)
        self.answers: list[tuple[str, EnvelopeAnswer]] = []
        self.limits.advance(self.at())

    def at(self, seconds: float = 0.0) -> Instant:
        """So many seconds after the start."""
        return Instant(NOW_MS + round(1000 * seconds), seconds)

    def take(self, name: str, payload: bytes, seconds: float = 0.0, *, retained: bool = False) -> None:
        """A message comes."""
        self.limits.take(name, payload, self.at(seconds), retained=retained)

    def send(self, seconds: float = 0.0, *, connected: bool = True) -> list[tuple[str, EnvelopeAnswer]]:
        """What is published."""
        sent: list[tuple[str, EnvelopeAnswer]] = []

        def publish(name: str, answer: EnvelopeAnswer) -> bool:
            if connected:
                sent.append((name, answer))
            return connected

        self.limits.advance(self.at(seconds))
        self.limits.send_answers(publish, seconds)
        return sent

    def import_kw(self, seconds: float = 0.0) -> float:
        """The import limit in force."""
        at = self.at(seconds)
        return limits_in_force(SITE, self.envelopes, (), [at.now_ms], at).import_kw[0]

    def end(self) -> None:
        """The agent ends."""
        self.state.commit()
        self.state.close()


def test_each_message_is_answered_once_it_is_kept(tmp_path: Path) -> None:
    agent = Started(tmp_path)
    agent.take("dso", envelope(50.0))
    assert agent.send(connected=False) == []
    accepted = EnvelopeAnswer(accepted=True, issued_at_ms=NOW_MS, in_effect_at_ms=NOW_MS)
    assert agent.send(1.0) == [("dso", accepted)]
    assert agent.send(2.0) == []
    agent.take("dso", envelope(900.0, -10.0), 2.0)
    agent.take("", b"{", 2.0)
    older, damaged = agent.send(3.0)
    assert (older[0], older[1].accepted, older[1].issued_at_ms) == ("dso", False, NOW_MS - 10_000)
    assert "before that of the newest issue" in older[1].reason
    assert (damaged[0], damaged[1].accepted, damaged[1].issued_at_ms) == ("", False, None)
    assert agent.rejected.counts == {"older_issue": 1, "undecodable": 1}


def test_envelope_holds_after_a_restart_without_network(tmp_path: Path) -> None:
    first = Started(tmp_path)
    first.take("dso", envelope(50.0))
    first.send()
    first.end()
    assert Started(tmp_path).import_kw(5.0) == 50.0


@pytest.mark.parametrize("damage", ["damaged", "missing", "state_file_too"])
def test_lost_file_leaves_the_fail_safe_limits_until_a_new_issue(tmp_path: Path, damage: str) -> None:
    first = Started(tmp_path)
    first.take("dso", envelope(50.0))
    first.send()
    first.end()
    path = tmp_path / "limits.json"
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-10])
    if damage == "state_file_too":
        (tmp_path / "agent.sqlite3").unlink()
    again = Started(tmp_path)
    assert again.import_kw() == 10.0
    again.take("dso", envelope(50.0), retained=True)
    assert again.import_kw() == 10.0
    again.send()
    again.end()
    third = Started(tmp_path)
    assert third.import_kw() == 10.0
    third.take("dso", envelope(60.0, 5.0), 5.0)
    assert third.import_kw(5.0) == 60.0


def test_first_start_and_a_site_without_envelopes_have_lost_nothing(tmp_path: Path) -> None:
    assert Started(tmp_path).import_kw() == 1000.0
    agent = Started(tmp_path / "other")
    agent.take("flex", b"")
    agent.send()
    agent.end()
    (tmp_path / "other" / "limits.json").unlink(missing_ok=True)
    assert Started(tmp_path / "other").import_kw() == 1000.0


def test_envelopes_of_an_earlier_version_are_taken_over_and_deleted_there(tmp_path: Path) -> None:
    state = StateFile(tmp_path / "agent.sqlite3", outbox_messages_max=10)
    for number in range(MAX_ENVELOPES):
        state.set_retained(topics.topic("s", topics.ENVELOPE, f"e{number}"), envelope(90.0, expires_s=-1.0))
    state.set_retained(topics.topic("s", topics.ENVELOPE), envelope(50.0))
    state.set_retained(topics.topic("s", topics.ENVELOPE, "damaged"), b"{")
    state.commit()
    state.close()
    agent = Started(tmp_path)
    assert agent.import_kw() == 50.0
    agent.send()
    agent.end()
    again = Started(tmp_path)
    assert again.state.retained() == []
    assert again.import_kw() == 50.0


def test_disk_that_cannot_be_written_is_said_and_the_limit_holds(tmp_path: Path) -> None:
    agent = Started(tmp_path)
    (tmp_path / "limits.json").mkdir()
    agent.take("dso", envelope(50.0))
    assert [answer.accepted for _, answer in agent.send()] == [True]
    assert agent.import_kw() == 50.0
    assert any("limits are not kept over a restart" in reason.text for reason in agent.limits.reasons)


def test_answers_that_wait_are_bounded(tmp_path: Path) -> None:
    agent = Started(tmp_path)
    for number in range(2 * MAX_ANSWERS):
        agent.take(f"e{number}", envelope(50.0))
    assert len(agent.send(1.0)) == MAX_ANSWERS
