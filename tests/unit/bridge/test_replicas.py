"""Which subscriptions and sessions a replica ends when their number has changed."""

import msgspec
import pytest

from ringmain_bridge.config import BridgeConfig, Mqtt
from ringmain_bridge.forwarding.ack_window import AckWindow, Entry, total
from ringmain_bridge.replicas import foreign_filters
from ringmain_protocol import topics


@pytest.mark.parametrize(("replica", "replicas"), [(0, 1), (0, 3), (2, 3), (63, 64)])
def test_foreign_is_every_filter_of_every_number_of_replicas_but_the_own_ones(replica: int, replicas: int) -> None:
    own = set(topics.bridge_filters(replica, replicas))
    foreign = foreign_filters(replica, replicas)
    assert own.isdisjoint(foreign)
    assert len(set(foreign)) == len(foreign)
    every = {name for n in (1, 2, 3, 7, 64) for k in range(n) for name in topics.bridge_filters(k, n)}
    assert every <= own | set(foreign)


@pytest.mark.parametrize("replicas", [1, 2, 3, 5, 64])
def test_each_session_of_a_larger_number_of_replicas_is_ended_by_exactly_one_replica(replicas: int) -> None:
    ended = [name for k in range(replicas) for name in BridgeConfig(replica=k, replicas=replicas).abandoned_client_ids]
    assert sorted(ended) == sorted(f"ringmain-bridge-{k}" for k in range(replicas, topics.SHARDS))


def test_a_client_id_that_does_not_tell_the_replica_ends_no_session() -> None:
    config = BridgeConfig(replica=1, replicas=2, mqtt=Mqtt(client_id="bridge"))
    assert (config.client_id, config.abandoned_client_ids) == ("bridge", [])
    named = msgspec.structs.replace(config, mqtt=Mqtt(client_id="b{replica}x"))
    assert (named.client_id, named.abandoned_client_ids[:2]) == ("b1x", ["b3x", "b5x"])


def test_the_books_of_several_windows_are_their_sums_and_the_oldest_message() -> None:
    windows = []
    for received_s in (7.0, 3.0):
        window = AckWindow(lambda _mids: None, limit=10, limit_bytes=1000)
        window.opened(session_present=True)
        window.dropped("overflow")
        window.arrived([Entry(mid=1, dup=False, content=1, size_bytes=1, received_s=received_s, done=False)])
        windows.append(window.counts())
    sums = total(windows)
    assert (sums.received, sums.in_flight, sums.dropped, sums.oldest_unacknowledged_s) == (4, 2, {"overflow": 2}, 3.0)
    assert total([]).oldest_unacknowledged_s is None
