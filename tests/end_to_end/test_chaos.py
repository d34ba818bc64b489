"""Every kind of fault once, on the real servers, under load from 20 sites with the agent's own outbox.

What the words mean: `tests/chaos/README.md`. Long runs with faults by chance: `make chaos FAULTS=100 SEED=1`.
"""

import msgspec
import pytest

from chaos.faults import Kind, plan
from chaos.run import Result, run
from servers.base import ServerMissingError

SEED = 1


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """One run serves all claims."""
    try:
        return run(tmp_path_factory.mktemp("chaos"), plan(len(Kind), SEED, recovery_s=(1.0, 2.0)))
    except ServerMissingError as error:
        pytest.skip(str(error))


def test_the_faults_were_real(result: Result) -> None:
    assert result.faults == len(Kind)
    assert result.killed["bridge"] == result.killed["ingest"] == 1
    assert result.refused > 0  # the disk below an outbox was full
    assert result.ended["ingest"] > 0  # and the one below the history
    assert result.produce_errors > 0
    assert result.clock_off_s > 86_000
    assert result.resent_late > 0  # the broker forgot


def test_nothing_that_was_accepted_is_lost(result: Result, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\n{msgspec.json.encode(result).decode()}", end=" ")
    assert result.sent > 5000
    assert result.lost == 0
    assert result.outbox_left == 0


def test_what_was_not_accepted_is_not_sent(result: Result) -> None:
    assert result.refused_but_sent == 0


def test_each_site_keeps_its_order_but_for_what_was_forgotten_and_sent_again(result: Result) -> None:
    assert result.reordered == 0


def test_the_history_has_everything_exactly_once_however_often_it_came(result: Result) -> None:
    assert result.duplicates > 0
    assert result.history_repeated == 0


def test_the_books_of_the_bridge_balance_at_every_scrape(result: Result) -> None:
    assert result.scrapes > 100
    assert result.invariant_violations == 0


def test_good_messages_make_no_dead_letters(result: Result) -> None:
    assert result.dead_letters == {}


def test_the_code_of_the_agent_outlives_every_fault(result: Result) -> None:
    assert {name: count for name, count in result.ended.items() if name.startswith("publishers") and count} == {}
