"""Another process with our client id is told apart from a broker or network that is unwell."""

from random import Random

from ringmain_bridge.mqtt.client_id_conflict import (
    CERTAIN,
    CERTAIN_WITHOUT_WITNESS,
    OVER_S,
    WAIT_S,
    ClientIdConflict,
    wait_s,
)


def test_several_short_connections_beside_a_witness_that_lives_are_another_process() -> None:
    war = ClientIdConflict()
    found = []
    for _ in range(CERTAIN):
        witness = True if war.wants_witness else None
        found.append(war.ended(up_for_s=1.0, witness_lives=witness))
    assert found == [False] * (CERTAIN - 1) + [True]
    assert war.contested


def test_a_broker_that_also_drops_the_witness_is_no_other_process() -> None:
    war = ClientIdConflict()
    for _ in range(100):
        assert not war.ended(up_for_s=1.0, witness_lives=False if war.wants_witness else None)
    assert not war.contested


def test_without_a_witness_it_takes_longer_to_be_certain() -> None:
    war = ClientIdConflict()
    found = [war.ended(up_for_s=1.0, witness_lives=None) for _ in range(CERTAIN_WITHOUT_WITNESS)]
    assert found == [False] * (CERTAIN_WITHOUT_WITNESS - 1) + [True]


def test_connections_that_last_or_a_broker_that_is_away_begin_the_count_again() -> None:
    war = ClientIdConflict()
    for _ in range(50):
        assert not war.ended(up_for_s=1.0, witness_lives=None)
        assert not war.ended(up_for_s=1.0, witness_lives=None)
        assert not war.ended(up_for_s=11.0, witness_lives=True)
        assert not war.ended(up_for_s=1.0, witness_lives=None)
        war.interrupted()
    assert not war.contested


def test_once_noticed_each_short_connection_counts_until_one_has_lasted() -> None:
    war = ClientIdConflict()
    for _ in range(CERTAIN):
        war.ended(up_for_s=1.0, witness_lives=True)
    assert war.ended(up_for_s=30.0, witness_lives=True)
    assert not war.ended(up_for_s=OVER_S, witness_lives=True)
    assert not war.contested
    for _ in range(CERTAIN):
        war.ended(up_for_s=1.0, witness_lives=True)
    war.holds()
    assert not war.contested
    assert not war.wants_witness


def test_the_wait_is_long_and_by_chance() -> None:
    waits = {wait_s(Random(seed)) for seed in range(50)}
    assert len(waits) == 50
    assert all(0.75 * WAIT_S <= wait <= 1.25 * WAIT_S for wait in waits)
