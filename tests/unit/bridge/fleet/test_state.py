"""The last state of each site, as its messages tell it."""

import msgspec
from msgspec import Struct

from ringmain_bridge.fleet.state import Fleet, SiteState
from ringmain_bridge.forwarding.forward import Forwarder, MqttMessage
from ringmain_protocol import messages, topics
from ringmain_protocol.messages import encode

STATUS = messages.Status(
    at_ms=1, time_zone="Europe/Amsterdam", agent_version="0.1.0", config_sha256="ab", stream="01234567",
    mode=messages.Mode.OBSERVE, mode_source="config", fallback=messages.Fallback.RELEASE, releases={},
)  # fmt: skip
SERIES = messages.Series(issued_at_ms=1, start_ms=1, step_s=3600, unit="degC", values=[])


def readings(*columns: tuple[str, int, float | None]) -> messages.Readings:
    signals, at_ms, values = ([column[i] for column in columns] for i in range(3))
    fields = {"signals": signals, "at_ms": at_ms, "values": values, "quality": [0] * len(columns)}
    return messages.Readings(stream="01234567", sequence=1, **fields)  # type: ignore[arg-type]


def hear(
    fleet: Fleet, kind: str, message: Struct | bytes, *, site: str = "s", at_s: float = 10, retain: bool = False
) -> None:
    topic = topics.topic(site, kind, "price" if kind == topics.SERIES else None)
    payload = message if isinstance(message, bytes) else encode(message)
    came = MqttMessage(topic, payload, 1, 1, retain, False, int(at_s * 1000), at_s)
    fleet.heard(came, Forwarder().forward(came))


def new_fleet(*, expiry_s: float = 100, sites_max: int = 10, signals: list[str] | None = None) -> Fleet:
    return Fleet(expiry_s=expiry_s, sites_max=sites_max, signals=signals or [])


def only(fleet: Fleet) -> SiteState:
    (state,) = fleet.states()
    return state


def test_birth_and_will_switch_online_and_the_will_is_no_sign_of_life() -> None:
    fleet = new_fleet()
    hear(fleet, topics.ONLINE, messages.Online(online=True, since_ms=1), at_s=10)
    assert (only(fleet).online, only(fleet).last_seen_ms) == (True, 10_000)
    hear(fleet, topics.ONLINE, messages.Online(online=False, since_ms=1), at_s=50)
    assert (only(fleet).online, only(fleet).last_seen_ms) == (False, 10_000)


def test_retained_messages_tell_the_state_but_not_when_the_site_was_seen() -> None:
    fleet = new_fleet()
    hear(fleet, topics.STATUS, STATUS, retain=True)
    assert (only(fleet).status, only(fleet).last_seen_ms) == (STATUS, None)
    hear(fleet, topics.READINGS, readings(("load_kw", 1, 1.0)), at_s=11)
    assert only(fleet).last_seen_ms == 11_000


def test_a_deleted_retained_message_takes_its_state_away() -> None:
    fleet = new_fleet()
    hear(fleet, topics.ONLINE, messages.Online(online=True, since_ms=1))
    hear(fleet, topics.STATUS, STATUS)
    hear(fleet, topics.ONLINE, b"")
    assert (only(fleet).online, only(fleet).status) == (None, STATUS)
    hear(fleet, topics.STATUS, b"")
    assert only(fleet).status is None


def test_a_damaged_status_leaves_the_last_one_and_shows_that_the_site_lives() -> None:
    fleet = new_fleet()
    hear(fleet, topics.STATUS, STATUS, at_s=10)
    hear(fleet, topics.STATUS, b"{", at_s=20)
    assert (only(fleet).status, only(fleet).last_seen_ms) == (STATUS, 20_000)


def test_series_are_sent_by_others_and_make_no_site() -> None:
    fleet = new_fleet()
    hear(fleet, topics.SERIES, SERIES)
    assert fleet.states() == []


def test_a_silent_site_disappears_and_is_counted() -> None:
    fleet = new_fleet(expiry_s=100)
    hear(fleet, topics.STATUS, STATUS, at_s=10, retain=True)
    hear(fleet, topics.STATUS, STATUS, at_s=50, retain=True)
    hear(fleet, topics.STATUS, STATUS, at_s=50, site="t")
    fleet.expire(now_s=110)
    assert len(fleet.states()) == 2
    fleet.expire(now_s=110.1)
    assert [state.site for state in fleet.states()] == ["t"]
    assert fleet.expired == 1


def test_sites_beyond_the_bound_are_counted_and_not_kept() -> None:
    fleet = new_fleet(sites_max=1)
    hear(fleet, topics.STATUS, STATUS, site="s")
    hear(fleet, topics.STATUS, STATUS, site="t")
    assert (only(fleet).site, fleet.refused) == ("s", 1)


def test_only_listed_signals_are_kept_and_the_newest_reading_counts() -> None:
    fleet = new_fleet(signals=["load_kw"])
    hear(fleet, topics.READINGS, readings(("load_kw", 5, 2.0), ("pv_kw", 5, -1.0), ("load_kw", 4, 1.0)))
    assert only(fleet).signals == {"load_kw": 2.0}
    hear(fleet, topics.READINGS, readings(("load_kw", 6, None)))
    assert only(fleet).signals == {}


def test_the_clock_offset_is_what_the_status_says_else_its_time_against_the_time_of_receipt() -> None:
    fleet = new_fleet()
    hear(fleet, topics.STATUS, msgspec.structs.replace(STATUS, at_ms=8_500), at_s=10)
    assert only(fleet).clock_offset_s == -1.5
    hear(fleet, topics.STATUS, msgspec.structs.replace(STATUS, at_ms=8_500, clock_offset_s=0.25), at_s=20)
    assert only(fleet).clock_offset_s == 0.25


def test_a_status_that_the_broker_had_kept_tells_nothing_of_the_clock() -> None:
    fleet = new_fleet()
    hear(fleet, topics.STATUS, STATUS, at_s=10, retain=True)
    assert only(fleet).clock_offset_s is None
