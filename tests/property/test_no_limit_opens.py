"""No sequence of messages, restarts and answers of the clock gives a wider limit than the narrowest one that must hold."""

import math
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ringmain_agent.inputs.envelopes import Envelopes
from ringmain_agent.inputs.instant import Instant
from ringmain_agent.inputs.limits_in_force import limits_in_force
from ringmain_agent.site.grid_connection import LimitsWithoutEnvelope
from ringmain_protocol.errors import MessageError
from ringmain_protocol.messages import Envelope, encode
from support.sites import station

START_MS = 1_790_000_000_000 - 1_790_000_000_000 % 900_000
NAMES = ("", "dso", "tso")
SITE = station(
    import_limit_kw=1000.0,
    export_limit_kw=1000.0,
    without_envelope=LimitsWithoutEnvelope(names=("dso",), import_kw=700.0),
)

issues = st.fixed_dictionaries(
    {
        "import_limit_kw": st.lists(st.integers(0, 900).map(float), min_size=3, max_size=3),
        "valid_for_s": st.none() | st.integers(1, 3000).map(float),
        "heartbeat_s": st.none() | st.just(300.0),
        "failsafe_import_kw": st.none() | st.integers(0, 900).map(float),
        "expires_s": st.integers(1, 2700),
        "breach_price_per_kwh": st.sampled_from([None, None, None, 0.0]),
        "release_ramp_s": st.sampled_from([0.0, 600.0]),
        "age_s": st.sampled_from([0, 0, 0, 100, 3000, -3000, -10_000]),
    }
)
events = st.lists(
    st.tuples(
        st.integers(0, 400),
        st.one_of(
            st.tuples(st.just("issue"), st.sampled_from(NAMES), issues),
            st.tuples(st.just("again"), st.sampled_from(NAMES), st.booleans()),
            st.tuples(st.just("empty"), st.sampled_from(NAMES), st.none()),
            st.tuples(st.just("damaged"), st.sampled_from(NAMES), st.none()),
            st.tuples(st.just("restart"), st.none(), st.integers(0, 10**6)),
            st.tuples(st.just("clock"), st.none(), st.sampled_from([0, 0, 0, -(10**9), -3600, 60, 3600, 10**9])),
        ),
    ),
    max_size=14,
)


class Accepted:
    """A binding issue that was accepted, with what it owes by true time."""

    def __init__(self, fields: dict[str, Any], envelope: Envelope, true_s: float) -> None:
        self.envelope, self.received_s = envelope, true_s
        self.expires_s = (envelope.expires_at_ms - START_MS) / 1000
        self.silent = False
        self.valid_until_s = math.inf if fields["valid_for_s"] is None else true_s + fields["valid_for_s"]

    def owed_kw(self, true_s: float, *, trusted: bool) -> float:
        """The limit that must hold, infinite without one.

        A fail-safe is owed where there is no newer issue; in doubt of the clock nobody can know its time of expiry.
        """
        envelope = self.envelope
        steps = [limit for limit in envelope.import_limit_kw if limit is not None]
        expired, over = true_s >= self.expires_s, true_s >= self.valid_until_s
        if envelope.heartbeat_s is not None:
            overdue = true_s > self.received_s + 2 * envelope.heartbeat_s
            self.silent |= overdue or over or (expired and trusted)
            if self.silent:
                return min(steps) if envelope.failsafe_import_kw is None else envelope.failsafe_import_kw
        if expired or over:
            return math.inf
        step = int(true_s // 900)
        return steps[step] if trusted and step < len(steps) else min(steps) if not trusted else math.inf


@settings(max_examples=150, deadline=None)
@given(events)
def test_no_sequence_of_events_opens_a_limit(sequence: list[tuple[int, Any]]) -> None:
    envelopes, true_s, boot_s, off_s = Envelopes(), 0, 0, 0
    owed: dict[str, Accepted] = {}
    last: dict[str, bytes] = {}

    def moment() -> Instant:
        return Instant(START_MS + 1000 * (true_s + off_s), float(true_s - boot_s), off_s == 0)

    for passed_s, (what, name, detail) in sequence:
        true_s += passed_s
        envelopes.advance(moment())
        all_owed_kw(owed, true_s, trusted=off_s == 0)
        if what == "issue":
            fields = dict(detail)
            envelope = Envelope(
                issued_at_ms=START_MS + 1000 * (true_s - fields.pop("age_s")),
                expires_at_ms=START_MS + 1000 * fields.pop("expires_s"),
                priority=1, start_ms=START_MS, step_s=900, export_limit_kw=[], **fields,
            )  # fmt: skip
            payload = encode(envelope)
            if take(envelopes, name, payload, moment()) and envelope.breach_price_per_kwh is None:
                owed[name] = Accepted(detail, envelope, true_s)
            last[name] = payload
        elif what == "again" and name in last:
            take(envelopes, name, last[name], moment(), retained=detail)
        elif what in ("empty", "damaged"):
            take(envelopes, name, b"" if what == "empty" else b'{"issued_at_ms": 1', moment())
        elif what == "restart":
            kept = envelopes.kept(moment())
            envelopes, boot_s = Envelopes(), true_s - detail
            envelopes.restore(kept, moment().now_s)
        elif what == "clock":
            off_s = detail
        at = moment()
        envelopes.advance(at)
        present = limits_in_force(SITE, envelopes, (), [at.now_ms], at).import_kw[0]
        owed_kw = all_owed_kw(owed, true_s, trusted=at.clock_trusted)
        narrowest = min([1000.0, *owed_kw.values()])
        if math.isinf(owed_kw.get("dso", math.inf)):
            narrowest = min(narrowest, 700.0)
        assert present <= narrowest


def all_owed_kw(owed: dict[str, Accepted], true_s: float, *, trusted: bool) -> dict[str, float]:
    """The limit that each name owes."""
    return {name: one.owed_kw(true_s, trusted=trusted) for name, one in owed.items()}


def take(envelopes: Envelopes, name: str, payload: bytes, at: Instant, *, retained: bool = False) -> bool:
    """True for an accepted issue."""
    try:
        return envelopes.take(name, payload, at, retained=retained).accepted
    except MessageError:
        return False
