"""Whatever arrives at the agent, and whatever its clock says: refused with a reason or taken once, and control goes on."""

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from ringmain_agent.config.feed import Feed, PayloadFormat, PositiveDirection, feed_problem
from ringmain_agent.control.limits import limit_setpoints
from ringmain_agent.control.regulate import RegulatorState, regulate
from ringmain_agent.gateway.kept import decode_kept, encode_kept
from ringmain_agent.inputs.envelopes import KeptEnvelopes
from ringmain_agent.inputs.feeds import VALUE_MAX, is_plausible, read_feed
from ringmain_agent.inputs.instant import Instant
from ringmain_agent.inputs.limits_in_force import limits_in_force
from ringmain_agent.inputs.series_and_envelopes import MAX_SERIES, MAX_SERIES_STEPS, SeriesAndEnvelopes
from ringmain_agent.inputs.step_history import MAX_OPEN_READINGS, StepHistory, columns, step_columns
from ringmain_agent.site.nameplates import Generator
from ringmain_agent.snapshot import Measured
from ringmain_protocol import topics
from ringmain_protocol.errors import MessageError
from ringmain_protocol.manifest import ModelManifest, Rollout, decode_document, encode_document, selected_release
from ringmain_protocol.messages import Envelope, Quality, Readings, Series, Steps, decode, encode
from ringmain_protocol.steps import Reading, StepValue
from support.hostile import FUZZ, hostile_payloads, hostile_topics, instants, raw_numbers
from support.sites import battery, measured, station
from support.strategies import structs

Outcome = TypeVar("Outcome")

NOW_MS = 1_700_000_000_000
STEP_S = 900
SENT: dict[str, Any] = {"stream": "0123456789abcdef", "sequence": 1}
FEED_REASONS = {"too_large", "undecodable", "invalid", "not_finite", "out_of_range"}
UPSTREAM_REASONS = {
    "unknown_topic",
    "too_large",
    "undecodable",
    "invalid",
    "out_of_range",
    "implausible_time",
    "too_many_series",
    "unit_changed",
    "older_issue",
    "ended",
    "binding",
}
ENVELOPES = (topics.topic("s", topics.ENVELOPE), topics.topic("s", topics.ENVELOPE, "flex"))
SIGNALS = {"load_kw": "kW", "pcc_kw": "MW", "temperature_degc": "degF", "battery_soc_kwh": "Wh", "soc_pu": "percent"}
HOLD_S = {"load_kw": 900.0, "battery_soc_kwh": 86_400.0, "temperature_degc": 1.0}
SITE = station(
    site="s",
    import_limit_kw=500.0,
    export_limit_kw=400.0,
    margin_kw=5.0,
    batteries=(battery("battery", 800.0, 200.0),),
    generators=(Generator(name="pv", rated_power_kw=300.0),),
)


@st.composite
def feeds(draw: st.DrawFn) -> tuple[str, Feed]:
    signal, unit = draw(st.sampled_from(sorted(SIGNALS.items())))
    feed = Feed(
        topic="t",
        unit=unit,
        format=draw(st.sampled_from(list(PayloadFormat))),
        value_path=draw(st.sampled_from(["value", "a.b", "a..b", ".", "a.b.c.d"])),
        time_path=draw(st.sampled_from([None, "time", "a.time"])),
        positive_direction=draw(st.sampled_from(list(PositiveDirection)))
        if signal.endswith("_kw")
        else PositiveDirection.IMPORT,
    )
    assert feed_problem(signal, feed) is None
    return signal, feed


_times: st.SearchStrategy[Any] = st.one_of(
    instants(NOW_MS),
    instants(NOW_MS).map(lambda at_ms: at_ms / 1000),
    st.datetimes().map(lambda at: at.isoformat()),
    st.sampled_from([
        "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59.999999-23:59", "2020-02-30T00:00:00Z", "2020-01-01", "now", "",
        "2020-01-01T00:00:00+00:00:00.000001", "\u0660" * 4, None, [], 1e308, -1e308, 10**400,
    ]),
)  # fmt: skip


def outcome(action: Callable[[], Outcome]) -> Outcome | str:
    """What an action gives, or the reason of its refusal."""
    try:
        return action()
    except MessageError as error:
        return error.reason


def _document(value: Any, time: Any) -> bytes:
    inner = {"b": value, "time": time, "": {"b": value}}
    return msgspec.json.encode({"value": _raw(value), "time": _raw(time), "a": {k: _raw(v) for k, v in inner.items()}})


def _raw(value: Any) -> Any:
    """Integers of any size, as JSON may carry them."""
    return msgspec.Raw(b"%d" % value) if isinstance(value, int) and not isinstance(value, bool) else value


_feed_payloads = st.one_of(
    hostile_payloads(),
    st.builds(_document, raw_numbers(), _times),
    raw_numbers().map(lambda value: b"%d" % value if isinstance(value, int) else repr(value).encode()),
    st.sampled_from(
        [
            b"nan",
            b"-inf",
            b"1e400",
            b"1_000",
            b"  7 ",
            b"0x1F",
            "\u0661".encode(),
            b"1\0",
            b"1,5",
            b"9" * 4000,
            b"9" * 70_000,
        ]
    ),
)


@FUZZ
@given(feed=feeds(), payload=_feed_payloads)
def test_a_feed_gives_a_reading_that_can_be_sent_or_a_reason(feed: tuple[str, Feed], payload: bytes) -> None:
    reading = outcome(lambda: read_feed(*feed, payload, received_ms=NOW_MS))
    if isinstance(reading, str):
        assert reading in FEED_REASONS
        return
    assert reading.signal == feed[0]
    assert (reading.value is None) == (reading.quality == Quality.MISSING)
    if reading.value is not None:
        assert abs(reading.value) <= VALUE_MAX
        assert (reading.quality == Quality.SUSPECT) == (not is_plausible(reading.at_ms, NOW_MS))
    batch = Readings(**SENT, **columns([reading]))  # type: ignore[arg-type]
    assert decode(encode(batch), Readings) == batch


_values = st.none() | st.floats(-VALUE_MAX, VALUE_MAX)
_readings = st.builds(Reading, st.sampled_from(sorted(HOLD_S)), instants(NOW_MS), _values, st.integers(0, 2))
_clock_steps = st.one_of(
    st.integers(0, 10_000),
    st.integers(0, 4_000_000),
    st.integers(-400, 400).map(lambda days: 86_400_000 * days),
    st.integers(-1_000_000, 0),
)


@FUZZ
@given(st.lists(st.tuples(_clock_steps, st.lists(_readings, max_size=6)), max_size=12))
def test_no_time_of_readings_or_clock_stops_the_history_or_makes_it_grow(cycles: list[tuple[int, list[Reading]]]) -> None:
    history = StepHistory(HOLD_S, step_s=STEP_S, steps_kept=8)
    now_ms = NOW_MS
    for passed_ms, readings in cycles:
        now_ms += passed_ms
        taken, repeated = history.accept(readings, now_ms=now_ms)
        assert len(taken) + repeated == len(readings)
        closed = history.close_steps(now_ms=now_ms)
        assert len(closed) <= 8 * len(HOLD_S)
        assert all(step.start_ms + 1000 * STEP_S <= now_ms for step in closed)
        for kind, batch in ((Steps, step_columns(closed)), (Readings, columns(taken))):
            extra = {"step_s": STEP_S} if kind is Steps else {}
            message: Struct = kind(**SENT, **extra, **batch)  # type: ignore[arg-type]
            assert decode(encode(message), kind) == message
        for signal, opened in history.open_readings.items():
            assert [r.at_ms for r in opened] == sorted({r.at_ms for r in opened})
            before = [r for r in opened if history.open_start_ms is not None and r.at_ms < history.open_start_ms]
            assert len(before) <= 1
            assert len(history.window(signal, 8)) == 4 * 8


@FUZZ
@given(st.lists(st.tuples(st.integers(0, 4_000_000), st.lists(_readings, max_size=6)), max_size=12), st.data())
def test_while_the_clock_goes_on_steps_close_once_and_a_value_is_taken_once(
    cycles: list[tuple[int, list[Reading]]], data: st.DataObject
) -> None:
    history = StepHistory(HOLD_S, step_s=STEP_S, steps_kept=8)
    seen: set[tuple[str, int]] = set()
    now_ms, ended = NOW_MS, dict.fromkeys(HOLD_S, -(2**63))
    sent: list[Reading] = []
    for passed_ms, fresh in cycles:
        now_ms += passed_ms
        again = data.draw(st.lists(st.sampled_from(sent), max_size=4)) if sent else []
        sent += fresh
        taken, _ = history.accept([*again, *fresh], now_ms=now_ms)
        plausible = [(r.signal, r.at_ms) for r in taken if is_plausible(r.at_ms, now_ms)]
        assert len(plausible) == len(set(plausible))
        assert not seen & set(plausible)
        seen |= set(plausible)
        for step in history.close_steps(now_ms=now_ms):
            assert step.start_ms > ended[step.signal]
            assert step.start_ms % (1000 * STEP_S) == 0
            ended[step.signal] = step.start_ms
            assert history.closed_value(step.signal, step.start_ms) == step.value


def test_a_sender_that_never_stops_does_not_fill_the_memory_and_is_followed() -> None:
    history = StepHistory({"load_kw": 900.0}, step_s=STEP_S, steps_kept=8)
    start_ms = NOW_MS - NOW_MS % (1000 * STEP_S)
    flood = [Reading("load_kw", start_ms + 10 * i, float(i)) for i in range(MAX_OPEN_READINGS + 50)]
    taken, repeated = history.accept(flood, now_ms=start_ms + 890_000)
    assert (len(taken), repeated) == (len(flood), 0)
    assert history.newest["load_kw"] == flood[-1]
    assert len(history.open_readings["load_kw"]) == MAX_OPEN_READINGS
    assert history.accept(flood[-20:], now_ms=start_ms + 890_000) == ([], 20)
    assert len(history.close_steps(now_ms=start_ms + 900_000)) == 1
    assert len(history.open_readings["load_kw"]) == 1


def test_after_the_clock_is_set_back_measurements_and_steps_come_back() -> None:
    history = StepHistory({"load_kw": 900.0}, step_s=STEP_S, steps_kept=8)
    year_ms = 365 * 86_400_000
    history.accept([Reading("load_kw", NOW_MS + year_ms, 1.0)], now_ms=NOW_MS + year_ms)
    history.close_steps(now_ms=NOW_MS + year_ms + 1_000_000)
    history.accept([Reading("load_kw", NOW_MS, 2.0)], now_ms=NOW_MS)
    assert history.newest["load_kw"].value == 2.0
    assert history.close_steps(now_ms=NOW_MS) == []
    hour_later_ms = NOW_MS + 3_600_000  # so long the clock must stay before it is believed
    assert history.close_steps(now_ms=hour_later_ms) == []
    now_ms = hour_later_ms + 1000 * STEP_S
    history.accept([Reading("load_kw", now_ms - 1000, 3.0)], now_ms=now_ms)
    (step,) = history.close_steps(now_ms=now_ms)
    assert step.start_ms <= hour_later_ms < step.start_ms + 1000 * STEP_S


def test_values_of_any_size_make_a_step_that_can_be_sent() -> None:
    history = StepHistory({"load_kw": 900.0}, step_s=STEP_S, steps_kept=8)
    start_ms = NOW_MS - NOW_MS % (1000 * STEP_S)
    history.accept([Reading("load_kw", start_ms, 1.7e308)], now_ms=start_ms)
    assert history.close_steps(now_ms=start_ms + 900_000) == [StepValue("load_kw", start_ms, None, Quality.MISSING)]


@FUZZ
@given(
    st.lists(
        st.tuples(
            st.sampled_from([topics.topic("s", topics.SERIES, "wind"), *ENVELOPES]) | hostile_topics(),
            hostile_payloads(Series)
            | hostile_payloads(Envelope)
            | st.builds(encode, structs(Series))
            | st.builds(encode, structs(Envelope)),
            instants(NOW_MS),
        ),
        max_size=8,
    )
)
def test_series_and_envelopes_are_taken_or_refused_with_a_reason(arrived: list[tuple[str, bytes, int]]) -> None:
    upstream, again, kept = SeriesAndEnvelopes(), SeriesAndEnvelopes(), {}
    at = Instant(NOW_MS, 0.0)
    for number, (topic, payload, now_ms) in enumerate(arrived):
        at = Instant(now_ms, float(number), now_ms % 2 == 0)
        if topic in ENVELOPES:
            name = topics.parse(topic).name or ""
            answer = outcome(lambda: upstream.envelopes.take(name, payload, at))  # noqa: B023  called at once
            assert not isinstance(answer, str) or answer in UPSTREAM_REASONS
            continue
        remembered = outcome(lambda: upstream.take(topic, payload, now_ms=now_ms))  # noqa: B023  called at once
        assert not isinstance(remembered, str) or remembered in UPSTREAM_REASONS
        if isinstance(remembered, bytes):
            kept[topic] = remembered
    for topic, remembered in kept.items():  # as after a restart
        again.take(topic, remembered, now_ms=0)
    assert again.series == upstream.series
    kept_envelopes = upstream.envelopes.kept(at)
    assert decode_kept(encode_kept(kept_envelopes), KeptEnvelopes) == kept_envelopes
    assert len(upstream.series) <= MAX_SERIES
    assert all(len(series.values) <= MAX_SERIES_STEPS for series in upstream.series.values())
    assert all(len(values) == 96 for values in upstream.known_future(start_ms=NOW_MS, step_s=STEP_S, steps=96).values())
    starts = [NOW_MS + 900_000 * i for i in range(96)]
    limits = limits_in_force(SITE, upstream.envelopes, (), starts, at)
    assert all(0 <= limit <= SITE.grid_connection.import_limit_kw for limit in limits.import_kw)
    assert all(0 <= limit <= SITE.grid_connection.export_limit_kw for limit in limits.export_kw)
    wishes = upstream.requested_limits_kw(starts, at)
    assert len(wishes.import_kw) == len(wishes.export_kw) == 96
    assert all(wish is None or wish >= 0 for wish in (*wishes.import_kw, *wishes.export_kw))
    assert 0 <= wishes.breach_price_per_kwh <= 10_000


@FUZZ
@given(issued=st.lists(st.tuples(instants(NOW_MS), st.floats(-1e6, 1e6)), max_size=6))
def test_no_issue_from_the_future_keeps_a_later_one_from_being_used(issued: list[tuple[int, float]]) -> None:
    upstream, topic = SeriesAndEnvelopes(), topics.topic("s", topics.SERIES, "price_eur_per_mwh")
    for issued_at_ms, value in [*issued, (NOW_MS + 6 * 86_400_000, 1.0), (NOW_MS + 7 * 86_400_000, 7.0)]:
        series = Series(issued_at_ms=issued_at_ms, start_ms=NOW_MS, step_s=STEP_S, unit="EUR/MWh", values=[value])
        assert outcome(lambda: upstream.take(topic, encode(series), now_ms=NOW_MS)) in (  # noqa: B023  called at once
            encode(upstream.series["price_eur_per_mwh"]),
            "implausible_time",
        )
    assert upstream.known_future(start_ms=NOW_MS, step_s=STEP_S, steps=1) == {"price_eur_per_mwh": [7.0]}


@pytest.mark.parametrize("kind", [ModelManifest, Rollout])
@FUZZ
@given(data=st.data())
def test_any_document_of_the_repository_is_read_or_refused(kind: type[Struct], data: st.DataObject) -> None:
    payload = data.draw(hostile_payloads(kind))
    document = outcome(lambda: decode_document(payload, kind))
    if isinstance(document, str):
        assert document == "invalid"
        return
    assert decode_document(encode_document(document), kind) == document
    if isinstance(document, Rollout):
        assert selected_release(document, "s") in (document.release, document.previous)


_measured = st.builds(Measured, _values, instants(NOW_MS), st.integers(0, 2))


@FUZZ
@given(
    state=structs(RegulatorState),
    cuts=st.lists(st.tuples(st.integers(0, 400), st.binary(max_size=3), st.integers(0, 4)), max_size=3),
    newest=st.dictionaries(
        st.sampled_from(["load_kw", "pcc_kw", "battery_kw", "battery_soc_kwh", "pv_kw"]), _measured, max_size=5
    ),
)
def test_a_damaged_state_is_not_used_or_does_no_harm(
    state: RegulatorState, cuts: list[tuple[int, bytes, int]], newest: dict[str, Measured]
) -> None:
    kept = encode_kept(state)
    for at, inserted, removed in cuts:
        kept = kept[:at] + inserted + kept[at + removed :]
    try:
        restored = decode_kept(kept, RegulatorState)
    except ValueError:
        restored = RegulatorState()
    measurements = measured(SITE, NOW_MS, newest=newest)
    regulation, after = regulate(measurements, None, restored, SITE)
    limited = limit_setpoints(regulation.setpoints, site=SITE, measurements=measurements, previous=after.sent).power_kw
    assert -200.0 <= (limited["battery"] or 0.0) <= 200.0
    assert -300.0 <= (limited["pv"] or 0.0) <= 0.0
    assert decode_kept(encode_kept(after), RegulatorState) == after


@pytest.mark.parametrize(
    "kept", [None, 1, 1.5, "text", b"", b"null", b"\x80", b"[" * 100_000, b'{"quarter": {"counted_kwh": null}}']
)
def test_what_is_no_state_is_refused(kept: object) -> None:
    with pytest.raises(ValueError, match=r".*"):
        decode_kept(kept, RegulatorState)
