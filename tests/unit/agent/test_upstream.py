"""Series and envelopes, as they count for the steps of a plan."""

import pytest

from ringmain_agent.site import GridConnection
from ringmain_agent.upstream import MAX_SERIES, MAX_SERIES_STEPS, Upstream
from ringmain_protocol import topics
from ringmain_protocol.errors import MessageError
from ringmain_protocol.messages import Envelope, Series, encode

GRID = GridConnection(import_limit_kw=100.0, export_limit_kw=50.0)
PRICE = topics.topic("s", topics.SERIES, "price_eur_per_mwh")


def series(issued_at_ms: int, start_ms: int, values: list[float | None]) -> bytes:
    return encode(Series(issued_at_ms=issued_at_ms, start_ms=start_ms, step_s=900, unit="EUR/MWh", values=values))


def test_for_each_step_the_newest_issue_that_has_a_value_counts() -> None:
    upstream = Upstream()
    upstream.take(PRICE, series(10, 0, [1.0, 5.0, 3.0, 4.0]), now_ms=0)
    upstream.take(PRICE, series(5, 0, [9.0, 9.0, 9.0, 9.0, 9.0]), now_ms=0)  # older, and late
    upstream.take(PRICE, series(20, 900_000, [2.0, None]), now_ms=0)
    known = upstream.known_future(start_ms=0, step_s=900, steps=6)
    assert known == {"price_eur_per_mwh": [None, 2.0, 3.0, 4.0, 9.0, None]}


def test_what_is_remembered_gives_the_same_after_a_restart() -> None:
    upstream, again = Upstream(), Upstream()
    upstream.take(PRICE, series(10, 0, [1.0, 5.0, 3.0]), now_ms=0)
    remembered = upstream.take(PRICE, series(20, 900_000, [2.0]), now_ms=0)
    assert remembered is not None
    again.take(PRICE, remembered, now_ms=0)
    assert again.known_future(start_ms=0, step_s=900, steps=4) == upstream.known_future(start_ms=0, step_s=900, steps=4)


def test_an_envelope_only_narrows_the_limits_and_only_while_it_holds() -> None:
    upstream = Upstream()
    envelope = Envelope(
        issued_at_ms=0, expires_at_ms=5_000_000, priority=1, start_ms=0, step_s=900,
        import_limit_kw=[80.0, 500.0, None], export_limit_kw=[0.0, None, 20.0],
    )  # fmt: skip
    assert upstream.take(topics.topic("s", topics.ENVELOPE), encode(envelope), now_ms=0)
    starts = [0, 900_000, 1_800_000, 2_700_000]
    assert upstream.limits_kw(GRID, starts, now_ms=0) == ([80.0, 100.0, 100.0, 100.0], [0.0, 50.0, 20.0, 50.0])
    assert upstream.limits_kw(GRID, starts, now_ms=5_000_000) == ([100.0] * 4, [50.0] * 4)


def test_a_withdrawn_envelope_leaves_the_limits_of_the_site() -> None:
    upstream = Upstream()
    assert upstream.take(topics.topic("s", topics.ENVELOPE), b"", now_ms=0) == b""
    assert upstream.limits_kw(GRID, [0], now_ms=0) == ([100.0], [50.0])


def test_a_damaged_series_is_refused_and_the_known_one_stays() -> None:
    upstream = Upstream()
    upstream.take(PRICE, series(10, 0, [1.0]), now_ms=0)
    with pytest.raises(MessageError):
        upstream.take(PRICE, b'{"issued_at_ms": 99', now_ms=0)
    assert upstream.known_future(start_ms=0, step_s=900, steps=1) == {"price_eur_per_mwh": [1.0]}


def test_an_issue_from_far_ahead_does_not_outlast_those_that_are_right() -> None:
    upstream = Upstream()
    upstream.take(PRICE, series(10**15, 0, [99.0]), now_ms=0)
    upstream.take(PRICE, series(10, 0, [1.0]), now_ms=0)
    with pytest.raises(MessageError, match="issued"):
        upstream.take(PRICE, series(10**15, 0, [99.0]), now_ms=0)
    assert upstream.known_future(start_ms=0, step_s=900, steps=1) == {"price_eur_per_mwh": [1.0]}


def test_what_is_known_of_series_is_bounded() -> None:
    upstream = Upstream()
    upstream.take(PRICE, series(10, 0, [1.0] * (MAX_SERIES_STEPS + 1)), now_ms=0)
    assert len(upstream.series["price_eur_per_mwh"].values) == MAX_SERIES_STEPS
    for number in range(1, MAX_SERIES):
        upstream.take(topics.topic("s", topics.SERIES, f"x{number}"), series(10, 0, [1.0]), now_ms=0)
    with pytest.raises(MessageError, match="known already"):
        upstream.take(topics.topic("s", topics.SERIES, "x"), series(10, 0, [1.0]), now_ms=0)
    assert len(upstream.series) == MAX_SERIES
