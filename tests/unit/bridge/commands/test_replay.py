"""What becomes of one dead letter."""

from ringmain_bridge.commands.replay import Choice, Letter, is_chosen, revive
from ringmain_bridge.forwarding.forward import Forwarder, Record
from ringmain_protocol import topics

GOOD = b'{"stream":"0123456789abcdef","sequence":1,"signals":["load_kw"],"at_ms":[1],"values":[1.0],"quality":[0]}'
TOPIC = topics.topic("uw-1", topics.READINGS).encode()


def letter(value: bytes = GOOD, **headers: bytes) -> Letter:
    known = {"mqtt_topic": TOPIC, "received_ms": b"1700000000000", "reason": b"invalid"}
    return Letter(0, 7, 1_700_000_000_500, b"uw-1", value, known | headers)


def test_a_letter_that_passes_now_keeps_its_headers_and_is_dated_now() -> None:
    record = revive(letter(bridge=b"2"), Forwarder(), now_ms=1_800_000_000_000)
    assert isinstance(record, Record)
    assert (record.topic, record.key, record.value) == ("ringmain.readings", b"uw-1", GOOD)
    assert record.timestamp_ms == 1_800_000_000_000
    headers = dict(record.headers)
    assert (headers["bridge"], headers["received_ms"], headers["replayed"]) == (b"2", b"1700000000000", b"1")
    assert "reason" not in headers
    assert headers["implausible_time"] == b"1", "judged at the time of receipt"
    assert len(headers) == len(record.headers)


def test_what_does_not_pass_says_why() -> None:
    forwarder = Forwarder()
    assert revive(letter(b"{"), forwarder, 0) == "undecodable"
    assert revive(letter(b"{}"), forwarder, 0) == "invalid"
    assert revive(letter(mqtt_topic=b"other"), forwarder, 0) == "unknown_topic"
    assert revive(letter(payload_bytes=b"2000000"), forwarder, 0) == "truncated"
    assert revive(Letter(0, 0, 0, None, GOOD, {}), forwarder, 0) == "no_headers"
    status = topics.topic("uw-1", topics.STATUS).encode()
    assert revive(letter(b"", mqtt_topic=status), forwarder, 0) == "not_for_kafka"


def test_letters_are_chosen_by_reason_site_and_time() -> None:
    one = letter()
    assert is_chosen(one, Choice())
    assert is_chosen(one, Choice(reason="invalid", site="uw-1", since_ms=1_700_000_000_500))
    assert not is_chosen(one, Choice(reason="undecodable"))
    assert not is_chosen(one, Choice(site="uw-2"))
    assert not is_chosen(one, Choice(since_ms=1_700_000_000_501))
