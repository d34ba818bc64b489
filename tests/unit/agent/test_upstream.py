"""Series and envelopes, as they count for the steps of a plan."""

import pytest

from ringmain_agent.site import GridConnection
from ringmain_agent.upstream import Upstream
from ringmain_protocol import topics
from ringmain_protocol.errors import MessageError
from ringmain_protocol.messages import Envelope, Series, encode

GRID = GridConnection(import_limit_kw=100.0, export_limit_kw=50.0)
PRICE = topics.topic("s", topics.SERIES, "price_eur_per_mwh")


def series(issued_at_ms: int, first: float) -> bytes:
    return encode(Series(issued_at_ms=issued_at_ms, start_ms=0, step_s=900, unit="EUR/MWh", values=[first, None, 3.0]))


def test_the_newest_issue_of_a_series_counts_and_nothing_is_made_up() -> None:
    upstream = Upstream()
    assert upstream.take(PRICE, series(10, 1.0))
    assert not upstream.take(PRICE, series(5, 9.0))
    assert upstream.take(PRICE, series(20, 2.0))
    known = upstream.known_future(start_ms=0, step_s=900, steps=4)
    assert known == {"price_eur_per_mwh": [2.0, None, 3.0, None]}


def test_an_envelope_only_narrows_the_limits_and_only_while_it_holds() -> None:
    upstream = Upstream()
    envelope = Envelope(
        issued_at_ms=0, expires_at_ms=5_000_000, priority=1, start_ms=0, step_s=900,
        import_limit_kw=[80.0, 500.0, None], export_limit_kw=[0.0, None, 20.0],
    )  # fmt: skip
    assert upstream.take(topics.topic("s", topics.ENVELOPE), encode(envelope))
    starts = [0, 900_000, 1_800_000, 2_700_000]
    assert upstream.limits_kw(GRID, starts, now_ms=0) == ([80.0, 100.0, 100.0, 100.0], [0.0, 50.0, 20.0, 50.0])
    assert upstream.limits_kw(GRID, starts, now_ms=5_000_000) == ([100.0] * 4, [50.0] * 4)


def test_a_withdrawn_envelope_leaves_the_limits_of_the_site() -> None:
    upstream = Upstream()
    assert upstream.take(topics.topic("s", topics.ENVELOPE), b"")
    assert upstream.limits_kw(GRID, [0], now_ms=0) == ([100.0], [50.0])


def test_a_damaged_series_is_refused_and_the_known_one_stays() -> None:
    upstream = Upstream()
    upstream.take(PRICE, series(10, 1.0))
    with pytest.raises(MessageError):
        upstream.take(PRICE, b'{"issued_at_ms": 99')
    assert upstream.known_future(start_ms=0, step_s=900, steps=1) == {"price_eur_per_mwh": [1.0]}
