"""Series and envelopes, as they count for the steps of a plan."""

import pytest

from ringmain_agent.inputs.series_and_envelopes import (
    MAX_ENVELOPES,
    MAX_SERIES,
    MAX_SERIES_STEPS,
    RequestedLimits,
    SeriesAndEnvelopes,
)
from ringmain_agent.site.grid_connection import TimedLimit
from ringmain_agent.site.hours import LocalHours
from ringmain_protocol import topics
from ringmain_protocol.errors import MessageError
from ringmain_protocol.messages import Envelope, Series, encode
from support.sites import station

SITE = station(site="s", import_limit_kw=100.0, export_limit_kw=50.0)
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


def test_an_envelope_only_narrows_the_limits_and_only_while_it_holds() -> None:
    upstream = SeriesAndEnvelopes()
    envelope = Envelope(
        issued_at_ms=0, expires_at_ms=5_000_000, priority=1, start_ms=0, step_s=900,
        import_limit_kw=[80.0, 500.0, None], export_limit_kw=[0.0, None, 20.0],
    )  # fmt: skip
    assert upstream.take(topics.topic("s", topics.ENVELOPE), encode(envelope), now_ms=0)
    starts = [0, 900_000, 1_800_000, 2_700_000]
    assert upstream.limits_kw(SITE, starts, now_ms=0) == ([80.0, 100.0, 100.0, 100.0], [0.0, 50.0, 20.0, 50.0])
    assert upstream.limits_kw(SITE, starts, now_ms=5_000_000) == ([100.0] * 4, [50.0] * 4)


def test_a_withdrawn_envelope_leaves_the_limits_of_the_site() -> None:
    upstream = SeriesAndEnvelopes()
    assert upstream.take(topics.topic("s", topics.ENVELOPE), b"", now_ms=0) == b""
    assert upstream.limits_kw(SITE, [0], now_ms=0) == ([100.0], [50.0])


def envelope(
    import_kw: list[float | None], export_kw: list[float | None], *, price: float | None = None, priority: int = 1,
    expires_at_ms: int = 10**12,
) -> bytes:  # fmt: skip
    return encode(
        Envelope(
            issued_at_ms=0, expires_at_ms=expires_at_ms, priority=priority, start_ms=0, step_s=900,
            import_limit_kw=import_kw, export_limit_kw=export_kw, breach_price_per_kwh=price,
        )
    )  # fmt: skip


def named(name: str) -> str:
    return topics.topic("s", topics.ENVELOPE, name)


def test_of_the_timed_limits_of_a_site_the_last_that_holds_counts() -> None:
    """On 1970-01-01 clocks in London were an hour ahead of UTC."""
    morning = TimedLimit(hours=LocalHours(begin="01:15", end="02:00"), import_limit_kw=120.0, export_limit_kw=10.0)
    minutes = TimedLimit(hours=LocalHours(begin="01:30", end="01:45"), import_limit_kw=0.0)
    site = station(time_zone="Europe/London", import_limit_kw=100.0, export_limit_kw=50.0, limit=(morning, minutes))
    starts = [0, 900_000, 1_800_000, 2_700_000, 3_600_000]
    expected = ([100.0, 120.0, 0.0, 120.0, 100.0], [50.0, 10.0, 10.0, 10.0, 50.0])
    assert SeriesAndEnvelopes().limits_kw(site, starts, now_ms=0) == expected


def test_envelopes_that_must_hold_count_all_together_whatever_their_priority() -> None:
    upstream = SeriesAndEnvelopes()
    upstream.take(topics.topic("s", topics.ENVELOPE), envelope([80.0, 60.0], [], priority=9), now_ms=0)
    upstream.take(named("congestion"), envelope([70.0, 90.0], [5.0], priority=0), now_ms=0)
    assert upstream.limits_kw(SITE, [0, 900_000], now_ms=0) == ([70.0, 60.0], [5.0, 50.0])
    upstream.take(named("congestion"), b"", now_ms=0)
    assert upstream.limits_kw(SITE, [0, 900_000], now_ms=0) == ([80.0, 60.0], [50.0, 50.0])


def test_of_wishes_the_highest_priority_counts_and_among_equals_the_narrower() -> None:
    upstream = SeriesAndEnvelopes()
    upstream.take(named("low"), envelope([10.0, 10.0, 10.0], [], price=9.0, priority=1), now_ms=0)
    upstream.take(named("wide"), envelope([50.0, 50.0, None], [20.0], price=1.0, priority=5), now_ms=0)
    upstream.take(named("narrow"), envelope([40.0], [], price=0.5, priority=5, expires_at_ms=100), now_ms=0)
    starts = [0, 900_000, 1_800_000, 2_700_000]
    assert upstream.requested_limits_kw(starts, now_ms=0) == RequestedLimits(
        [40.0, 50.0, 10.0, None], [20.0, None, None, None], 9.0
    )
    assert upstream.requested_limits_kw(starts[:2], now_ms=100) == RequestedLimits([50.0, 50.0], [20.0, None], 1.0)
    assert upstream.limits_kw(SITE, starts, now_ms=0) == ([100.0] * 4, [50.0] * 4)


def test_what_is_remembered_of_envelopes_is_bounded_and_the_expired_make_room() -> None:
    upstream = SeriesAndEnvelopes()
    for number in range(MAX_ENVELOPES):
        upstream.take(named(f"e{number}"), envelope([90.0], [], expires_at_ms=500 if number == 3 else 1000), now_ms=0)
    with pytest.raises(MessageError, match="already in force"):
        upstream.take(named("more"), envelope([1.0], []), now_ms=0)
    upstream.take(named("e0"), envelope([30.0], []), now_ms=0)
    assert upstream.limits_kw(SITE, [0], now_ms=0)[0] == [30.0]
    upstream.take(named("more"), envelope([1.0], []), now_ms=500)
    assert upstream.limits_kw(SITE, [0], now_ms=500)[0] == [1.0]


def test_a_damaged_envelope_is_refused_and_the_known_one_stays() -> None:
    upstream = SeriesAndEnvelopes()
    upstream.take(named("e"), envelope([30.0], []), now_ms=0)
    with pytest.raises(MessageError):
        upstream.take(named("e"), b'{"issued_at_ms": 1}', now_ms=0)
    assert upstream.limits_kw(SITE, [0], now_ms=0)[0] == [30.0]


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
