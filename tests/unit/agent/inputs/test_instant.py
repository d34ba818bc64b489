"""The present instant."""

from ringmain_agent.inputs.instant import Instant


def test_clock_is_trusted_unless_someone_doubts_it() -> None:
    assert Instant(1, 2.0).clock_trusted
