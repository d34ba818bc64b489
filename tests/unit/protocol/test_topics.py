"""Topics: spelled once, taken apart strictly, divided over replicas without overlap."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import topic_matches_sub

from ringmain_protocol import topics
from ringmain_protocol.errors import MessageError

SITES = st.from_regex(r"[a-z0-9-]{1,63}", fullmatch=True)
KINDS = [topics.READINGS, topics.STEPS, topics.FORECAST, topics.SCHEDULE, topics.SETPOINT, topics.STATUS, topics.ONLINE]
KINDS += [topics.RECEIPT, topics.ENVELOPE, topics.ANSWER, topics.MODEL]


def test_topic_of_a_site_is_what_the_readme_shows() -> None:
    assert topics.topic("liander-287", topics.READINGS) == f"ringmain/1/{topics.shard('liander-287')}/liander-287/readings"


def test_shard_is_the_first_byte_of_sha256_modulo_64() -> None:
    # printf abc | sha256sum: ba78...; 0xba % 64 = 0x3a
    assert topics.shard("abc") == "3a"


@given(site=SITES, kind=st.sampled_from(KINDS))
def test_parse_takes_apart_what_topic_puts_together(site: str, kind: str) -> None:
    assert topics.parse(topics.topic(site, kind)) == topics.Topic(topics.shard(site), site, kind)


@given(site=SITES, name=st.from_regex(r"[a-z][a-z0-9_]{0,62}", fullmatch=True))
def test_a_series_carries_its_name(site: str, name: str) -> None:
    text = topics.topic(site, topics.SERIES, name)
    assert topics.parse(text) == topics.Topic(topics.shard(site), site, topics.SERIES, name)
    assert topic_matches_sub(topics.all_series(site), text)


@given(site=SITES, name=st.from_regex(r"[a-z][a-z0-9_]{0,62}", fullmatch=True))
def test_one_of_several_envelopes_carries_its_name_and_so_does_its_answer(site: str, name: str) -> None:
    answer = topics.topic(site, topics.ANSWER, name)
    assert topics.parse(answer) == topics.Topic(topics.shard(site), site, topics.ANSWER, name)
    assert not any(topic_matches_sub(item, answer) for item in topics.bridge_filters())
    text = topics.topic(site, topics.ENVELOPE, name)
    assert topics.parse(text) == topics.Topic(topics.shard(site), site, topics.ENVELOPE, name)
    assert topic_matches_sub(topics.all_envelopes(site), text)
    assert not any(topic_matches_sub(item, text) for item in topics.bridge_filters())


@pytest.mark.parametrize(
    ("site", "kind", "name"),
    [
        ("", topics.READINGS, None),
        ("UPPER", topics.READINGS, None),
        ("a/b", topics.READINGS, None),
        ("+", topics.READINGS, None),
        ("a\n", topics.READINGS, None),
        ("a" * 64, topics.READINGS, None),
        ("abc", "no-such-kind", None),
        ("abc", topics.READINGS, "named"),
        ("abc", topics.SERIES, None),
        ("abc", topics.ENVELOPE, "Flex/x"),
        ("abc", topics.SERIES, "Price"),
        ("abc", topics.SERIES, "price/x"),
        ("abc", topics.SERIES, "price\n"),
    ],
)
def test_no_topic_is_made_from_what_the_protocol_does_not_know(site: str, kind: str, name: str | None) -> None:
    with pytest.raises(ValueError, match=r"must match|no topic"):
        topics.topic(site, kind, name)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ringmain/1",
        "ringmain/2/3a/abc/readings",
        "ringmain/1/3b/abc/readings",
        "ringmain/1/3A/abc/readings",
        "ringmain/1/3a/abc",
        "ringmain/1/3a/abc/readings/x",
        "ringmain/1/3a/abc/series",
        "ringmain/1/3a/abc/series/Price",
        "ringmain/1/3a/abc/unknown",
        "/ringmain/1/3a/abc/readings",
        "ringmain-simulation/clock",
        "x" * 60_000,
    ],
)
def test_a_foreign_topic_is_refused_with_a_reason(text: str) -> None:
    with pytest.raises(MessageError) as caught:
        topics.parse(text)
    assert caught.value.reason == "unknown_topic"
    assert len(str(caught.value)) < 300


@given(site=SITES, kind=st.sampled_from((*topics.FORWARDED, topics.ONLINE)), replicas=st.integers(1, 64))
def test_exactly_one_replica_of_the_bridge_gets_each_message(site: str, kind: str, replicas: int) -> None:
    text = topics.topic(site, kind, "price_eur_per_mwh" if kind == topics.SERIES else None)
    owners = [
        replica
        for replica in range(replicas)
        if any(topic_matches_sub(item, text) for item in topics.bridge_filters(replica, replicas))
    ]
    assert owners == ([0] if replicas == 1 else [int(topics.shard(site), 16) % replicas])


@pytest.mark.parametrize("kind", [topics.RECEIPT, topics.MODEL, topics.ENVELOPE, topics.ANSWER])
def test_the_bridge_does_not_hear_what_is_meant_for_agents_and_operators(kind: str) -> None:
    text = topics.topic("abc", kind)
    assert not any(topic_matches_sub(item, text) for item in topics.bridge_filters())


@pytest.mark.parametrize(("replica", "replicas"), [(1, 1), (-1, 2), (0, 0), (0, 65)])
def test_a_replica_that_does_not_exist_is_refused(replica: int, replicas: int) -> None:
    with pytest.raises(ValueError, match="replica"):
        topics.bridge_filters(replica, replicas)


def test_every_forwarded_kind_has_its_kafka_topic() -> None:
    assert sorted(topics.KAFKA_TOPICS) == sorted(topics.FORWARDED)
    assert len(set(topics.KAFKA_TOPICS.values())) == len(topics.FORWARDED)
    assert topics.DEADLETTER not in topics.KAFKA_TOPICS.values()
