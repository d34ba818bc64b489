"""Hypothesis strategies for what a careless or hostile sender may publish: topics, payloads, instants.

Also how many examples a test of bad input takes: some hundred, or what `HYPOTHESIS_PROFILE=long` says.
"""

import json
from typing import Any, Final

from hypothesis import settings
from hypothesis import strategies as st
from msgspec import Struct

from ringmain_protocol import manifest, messages, topics
from ringmain_protocol.messages import encode
from support.strategies import MESSAGES, structs

FUZZ: Final = settings(max_examples=max(300, settings.default.max_examples if settings.default else 0))
"""Settings of a test of bad input."""

KINDS: Final[dict[str, type[Struct]]] = {
    topics.READINGS: messages.Readings,
    topics.STEPS: messages.Steps,
    topics.FORECAST: messages.Forecast,
    topics.SCHEDULE: messages.Schedule,
    topics.SETPOINT: messages.Setpoint,
    topics.STATUS: messages.Status,
    topics.SERIES: messages.Series,
    topics.ONLINE: messages.Online,
    topics.RECEIPT: messages.Receipt,
    topics.ENVELOPE: messages.Envelope,
    topics.ANSWER: messages.EnvelopeAnswer,
}
"""Message of each kind of topic that has one."""

_SENT: Final[dict[str, Any]] = {"stream": "0123456789abcdef", "sequence": 7}
_COLUMNS: Final[dict[str, Any]] = {
    "signals": ["load_kw", "pv_kw"], "at_ms": [1_700_000_000_000, 1_700_000_000_001], "values": [1.5, None],
    "quality": [0, 2],
}  # fmt: skip
_DECIDED: Final[dict[str, Any]] = {**_SENT, "issued_at_ms": 1_700_000_000_000, "fallback": messages.Fallback.OPTIMAL}

SAMPLES: Final[dict[type[Struct], Struct]] = {
    type(message): message
    for message in (
        messages.Readings(**_SENT, **_COLUMNS),
        messages.Steps(**_SENT, **_COLUMNS, step_s=900),
        messages.Forecast(
            **_SENT, signal="load_kw", issued_at_ms=1_700_000_000_000, step_s=900, quantiles=[0.1, 0.5],
            values=[[1.0, 2.0], [3.0, 4.0]], release=3,
        ),
        messages.Schedule(
            **_DECIDED, step_s=900, pcc_kw=[5.0, 6.0], power_kw={"battery": [1.0, -1.0]}, soc_kwh={"battery": [4.0, 3.0]}
        ),
        messages.Setpoint(
            **_DECIDED, valid_for_s=600.0, mode=messages.Mode.CONTROL, power_kw={"battery": 1.0, "pv": None}, reason="é"
        ),
        messages.Status(
            at_ms=1_700_000_000_000, time_zone="Europe/Amsterdam", agent_version="0.1.0", config_sha256="ab" * 32,
            stream="0123456789abcdef", mode=messages.Mode.CONTROL, mode_source="switch", fallback=messages.Fallback.RULE,
            releases={"load_kw": 3}, forecast_error_kw={"load_kw": 1.5}, persistence_error_kw={"load_kw": 2.5},
            soc_pu={"battery": 0.5}, billing_peak_kw=700.0, outbox_messages=12, dropped={"outbox_full_readings": 3},
            rejected={"invalid": 1}, clock_offset_s=-0.25, connections={"local": ""}, not_followed=["battery"], reason="x",
        ),
        messages.Online(online=True, since_ms=1_700_000_000_000),
        messages.Receipt(stream="0123456789abcdef", ranges=[(1, 5), (7, 7)]),
        messages.Series(
            issued_at_ms=1_700_000_000_000, start_ms=1_700_000_100_000, step_s=900, unit="degC", values=[1.0, None, -3.5]
        ),
        messages.Envelope(
            issued_at_ms=1_700_000_000_000, expires_at_ms=1_700_003_600_000, priority=1, start_ms=1_700_000_100_000,
            step_s=900, import_limit_kw=[80.0, None], export_limit_kw=[0.0, None],
        ),
        messages.EnvelopeAnswer(accepted=False, reason="older", issued_at_ms=1_700_000_000_000),
        messages.ActiveFailsafe(why="pcc_kw is missing", since_ms=1_700_000_000_000),
        messages.FeedState(value=130.5, age_s=1.5, reason="stale"),
        messages.Limit(name="import_kw", value=50.0, source="envelope dso", since_ms=1_700_000_000_000),
        messages.Tick(tick=1, now_ms=1_700_000_000_000, messages={"s": 3}),
        messages.Answer(tick=1, setpoints=2),
        manifest.Rollout(release=3, previous=2, permille=100, sites=["s"], salt="x"),
        manifest.ModelManifest(
            format=1, site="s", signal="load_kw", release=3, created_at_ms=1_700_000_000_000, signals={"load_kw": "kW"},
            series={"temperature_degc": "degC"}, step_s=900, history_steps=96, horizon_steps=96, quantiles=[0.1, 0.5, 0.9],
            time_zone="Europe/Amsterdam", holidays=["2020-12-25"], years=(2019, 2030), history_share_min=0.5, tolerance=0.1,
            trained_from_ms=0, trained_to_ms=1, trained_forecasts=100, trained_sha256="ab",
        ),
    )
}  # fmt: skip
"""One genuine message or document of each kind: as good to damage as any, and made at once."""

LITERALS: Final = (
    b"NaN", b"Infinity", b"-Infinity", b"nan", b"null", b"true", b"-0", b"-1", b"0.5", b"1.0", b"1e3", b"1e15", b"1e99",
    b"1e308", b"-1.7e308", b"1e400", b"5e-324", b"0x10", b"1_000", b"01", b"+1", b"2147483648", b"9223372036854775807",
    b"9223372036854775808", b"18446744073709551616", b"-9223372036854775809", b"4611686018427387904",
    b"4611686018427387905", b"9" * 400, b"-" + b"9" * 5000, b'""', b'"\\ud800"', b'"\\udc00\\ud800"', b'"\\u0000"',
    b'"\xff\xfe"', b'"\xc3"', b'"\xed\xa0\x80"', b'"' + b"x" * 5000 + b'"', b'"\\"\\\\\\n\\r"', b"'1'", b"{}", b"[]",
    b"[[]]", b"[null]", b"[" * 100_000, b"[" * 2000 + b"]" * 2000, b'{"a":' * 2000 + b"1" + b"}" * 2000, b"/* */ 1", b"1,",
    b"",
)  # fmt: skip
"""What may stand where a JSON value should."""

INSTANTS: Final = (0, 1, -1, 253_402_300_800_000, -62_135_596_800_001, 2**31, 2**53, 2**62, -(2**62), 10**15, -(10**15))
"""Instants that no clock should show, in milliseconds."""

_sites = st.sampled_from(["uw-114", "uw-115", "a", "-", "0" * 63]) | st.from_regex(r"[a-z0-9-]{1,63}", fullmatch=True)
_any_text = st.text(st.characters(exclude_categories=()), max_size=30)  # with lone surrogates


def instants(now_ms: int) -> st.SearchStrategy[int]:
    """Instants near now, further away, and impossible ones."""
    return st.one_of(
        st.integers(now_ms - 4_000_000, now_ms + 4_000_000),
        st.integers(-400, 400).map(lambda days: now_ms + 86_400_000 * days),
        st.sampled_from(INSTANTS),
        st.integers(-(2**62), 2**62),
    )


@st.composite
def hostile_topics(draw: st.DrawFn) -> str:
    """Topics of the protocol, broken ones, and any text; a topic of a site is more likely than another."""
    site, kind = draw(_sites), draw(st.sampled_from([*KINDS, topics.MODEL]))
    name = draw(st.sampled_from(["load_kw", "price_eur_per_mwh"])) if kind == topics.SERIES else None
    good = topics.topic(site, kind, name)
    how = draw(st.integers(0, 11))
    match how:
        case 0:
            return good.replace(f"/{topics.shard(site)}/", f"/{draw(st.sampled_from(['00', '3f', '40', 'FF', '', '+']))}/")
        case 1:
            at = draw(st.integers(0, len(good)))
            return (
                good[:at]
                + draw(st.sampled_from(["\0", "+", "#", "/", "//", " ", "\n", "é", "\ud800", "A", "\u202e"]))
                + good[at:]
            )
        case 2:
            return draw(st.sampled_from(["$share/group/", "$SYS/", "/", "ringmain/2/", "#", "+/"])) + good
        case 3:
            return good + draw(st.sampled_from(["/", "/x", "/load_kw", "\n", "s", "/" + "x" * 70_000]))
        case 4:
            return draw(_any_text)
        case _:
            return good


@st.composite
def hostile_payloads(draw: st.DrawFn, kind: type[Struct] | None = None) -> bytes:
    """Genuine messages, what is left of them after some accidents, and any bytes."""
    if draw(st.integers(0, 9)) == 0:
        return draw(
            st.sampled_from([b"", b"\0", b"null", b"{}", b"[]", b"\xef\xbb\xbf{}", *LITERALS]) | st.binary(max_size=80)
        )
    kind = kind or draw(st.sampled_from(MESSAGES))
    payload = encode(SAMPLES[kind] if draw(st.integers(0, 5)) else draw(structs(kind)))
    for _ in range(draw(st.integers(0, 3))):
        payload = draw(_damaged(payload))
    return payload


@st.composite
def _damaged(draw: st.DrawFn, payload: bytes) -> bytes:
    at = draw(st.integers(0, len(payload)))
    until = draw(st.integers(at, min(len(payload), at + 40)))
    match draw(st.integers(0, 8)):
        case 0:
            return payload[:at]
        case 1:
            return payload[:at] + draw(st.binary(min_size=1, max_size=4)) + payload[until:]
        case 2:
            return payload[:until] + payload[at:until] * draw(st.integers(1, 30)) + payload[until:]
        case 3:
            return payload + draw(st.sampled_from([b"\0", b" ", b"\n", b"x", payload]))
        case 4:
            return payload.decode("utf-8", "replace").encode("utf-16")
        case _:
            return draw(_with_another_field(payload))


@st.composite
def _with_another_field(draw: st.DrawFn, payload: bytes) -> bytes:
    """A field with another value, a key twice, or a field of nobody; the text of the others stays."""
    try:
        fields = json.loads(payload)
    except (ValueError, RecursionError):
        return payload
    if not isinstance(fields, dict):
        return payload
    parts = [(key, json.dumps(value).encode()) for key, value in fields.items()]
    name = draw(st.sampled_from([*fields, "field_of_tomorrow", "stream", "sequence", "at_ms"]))
    value = draw(st.sampled_from(LITERALS) | st.sampled_from(INSTANTS).map(lambda at_ms: b"%d" % at_ms))
    if draw(st.booleans()) and isinstance(fields.get(name), list):
        value = b"[" + b",".join([value] * max(len(fields[name]), 1)) + b"]"
    if not draw(st.booleans()):
        parts = [part for part in parts if part[0] != name]
    parts.insert(draw(st.integers(0, len(parts))), (name, value))
    return b"{" + b",".join(json.dumps(key).encode() + b":" + raw for key, raw in parts) + b"}"


def raw_numbers() -> st.SearchStrategy[Any]:
    """Numbers as JSON may carry them, the largest included."""
    return st.one_of(
        st.floats(allow_nan=False, allow_infinity=False),
        st.integers(),
        st.sampled_from([1e308, -1.7e308, 1e39, 5e-324, 10**400, -(10**4000), 2**63, True, None]),
    )
