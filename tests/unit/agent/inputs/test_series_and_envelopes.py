"""Series and envelopes, as they count for the steps of a plan."""

import pytest

from ringmain_agent.inputs.instant import Instant
from ringmain_agent.inputs.series_and_envelopes import (
    MAX_SERIES,
    MAX_SERIES_STEPS,
    RequestedLimits,
    SeriesAndEnvelopes,
)
from ringmain_protocol import topics
from ringmain_protocol.errors import MessageError
from ringmain_protocol.messages import Envelope, Series, encode

PRICE = topics.topic("s", topics.SERIES, "price_eur_per_mwh")


def series(issued_at_ms: int, start_ms: int, values: list[float | None]) -> bytes:
    return encode(Series(issued_at_ms=issued_at_ms, start_ms=start_ms, step_s=900, unit="EUR/MWh", values=values))


def test_for_each_step_the_newest_issue_that_has_a_value_counts() -> None:
    upstream = SeriesAndEnvelopes()
    upstream.take(PRICE, series(10, 0, [1.0, 5.0, 3.0, 4.0]), now_ms=0)
    upstream.take(PRICE, series(5, 0, [9.0, 9.0, 9.0, 9.0, 9.0]), now_ms=0)  # older, and late
    upstream.take(PRICE, series(20, 900_000, [2.0, None]), now_ms=0)
    known = upstream.known_future(start_ms=0, step_s=900, steps=6)
    assert known == {"price_eur_per_mwh": [None, 2.0, 3.0, 4.0, 9.0, None]}


def test_what_is_remembered_gives_the_same_after_a_restart() -> None:
    upstream, again = SeriesAndEnvelopes(), SeriesAndEnvelopes()
    upstream.take(PRICE, series(10, 0, [1.0, 5.0, 3.0]), now_ms=0)
    remembered = upstream.take(PRICE, series(20, 900_000, [2.0]), now_ms=0)
    assert remembered is not None
    again.take(PRICE, remembered, now_ms=0)
    assert again.known_future(start_ms=0, step_s=900, steps=4) == upstream.known_future(start_ms=0, step_s=900, steps=4)


def wish(
    limits_kw: list[float | None], export_kw: list[float | None], *, price: float, priority: int, expires_at_ms: int
) -> bytes:
    return encode(
        Envelope(
            issued_at_ms=0, expires_at_ms=expires_at_ms, priority=priority, start_ms=0, step_s=900,
            import_limit_kw=limits_kw, export_limit_kw=export_kw, breach_price_per_kwh=price,
        )
    )  # fmt: skip


def test_of_wishes_the_highest_priority_counts_and_among_equals_the_narrower() -> None:
    upstream, at = SeriesAndEnvelopes(), Instant(0, 0.0)
    low = wish([10.0, 10.0, 10.0], [], price=9.0, priority=1, expires_at_ms=10**12)
    wide = wish([50.0, 50.0, None], [20.0], price=1.0, priority=5, expires_at_ms=10**12)
    narrow = wish([40.0], [], price=0.5, priority=5, expires_at_ms=100)
    for name, payload in (("low", low), ("wide", wide), ("narrow", narrow)):
        assert upstream.envelopes.take(name, payload, at).accepted
    starts = [0, 900_000, 1_800_000, 2_700_000]
    assert upstream.requested_limits_kw(starts, at) == RequestedLimits(
        [40.0, 50.0, 10.0, None], [20.0, None, None, None], 9.0
    )
    assert upstream.requested_limits_kw(starts[:2], Instant(100, 0.1)) == RequestedLimits([50.0, 50.0], [20.0, None], 1.0)


def test_series_does_not_change_its_unit_while_its_values_count() -> None:
    """300 K merged into a series in degC would be a very hot day; a sender that really changes begins anew."""
    upstream, topic = SeriesAndEnvelopes(), topics.topic("s", topics.SERIES, "temperature_degc")

    def issue(issued_at_ms: int, unit: str, start_ms: int, value: float) -> bytes:
        return encode(Series(issued_at_ms=issued_at_ms, start_ms=start_ms, step_s=900, unit=unit, values=[value, value]))

    upstream.take(topic, issue(0, "degC", 0, 20.0), now_ms=0)
    with pytest.raises(MessageError, match="'K', and 'degC' before") as caught:
        upstream.take(topic, issue(10, "K", 0, 293.0), now_ms=1_799_999)
    assert caught.value.reason == "unit_changed"
    assert upstream.known_future(start_ms=0, step_s=900, steps=2) == {"temperature_degc": [20.0, 20.0]}
    upstream.take(topic, issue(20, "K", 900_000, 293.0), now_ms=1_800_000)
    assert upstream.known_future(start_ms=0, step_s=900, steps=3) == {"temperature_degc": [None, 293.0, 293.0]}


def test_a_damaged_series_is_refused_and_the_known_one_stays() -> None:
    upstream = SeriesAndEnvelopes()
    upstream.take(PRICE, series(10, 0, [1.0]), now_ms=0)
    with pytest.raises(MessageError):
        upstream.take(PRICE, b'{"issued_at_ms": 99', now_ms=0)
    assert upstream.known_future(start_ms=0, step_s=900, steps=1) == {"price_eur_per_mwh": [1.0]}


def test_an_issue_from_far_ahead_does_not_outlast_those_that_are_right() -> None:
    upstream = SeriesAndEnvelopes()
    upstream.take(PRICE, series(10**15, 0, [99.0]), now_ms=0)
    upstream.take(PRICE, series(10, 0, [1.0]), now_ms=0)
    with pytest.raises(MessageError, match="more than 7 days after now"):
        upstream.take(PRICE, series(10**15, 0, [99.0]), now_ms=0)
    assert upstream.known_future(start_ms=0, step_s=900, steps=1) == {"price_eur_per_mwh": [1.0]}


def test_what_is_known_of_series_is_bounded() -> None:
    upstream = SeriesAndEnvelopes()
    upstream.take(PRICE, series(10, 0, [1.0] * (MAX_SERIES_STEPS + 1)), now_ms=0)
    assert len(upstream.series["price_eur_per_mwh"].values) == MAX_SERIES_STEPS
    for number in range(1, MAX_SERIES):
        upstream.take(topics.topic("s", topics.SERIES, f"x{number}"), series(10, 0, [1.0]), now_ms=0)
    with pytest.raises(MessageError, match="already 64 series"):
        upstream.take(topics.topic("s", topics.SERIES, "x"), series(10, 0, [1.0]), now_ms=0)
    assert len(upstream.series) == MAX_SERIES
