"""Envelopes of the network operator: their order, end and silence, and what a restart or a clock in doubt leaves."""

import random
from typing import Any

import pytest

from ringmain_agent.inputs.envelopes import MAX_ENVELOPE_BYTES, MAX_ENVELOPES, MAX_NAMES, Envelopes
from ringmain_agent.inputs.instant import Instant
from ringmain_agent.inputs.limits_in_force import limits_in_force
from ringmain_agent.site.grid_connection import FailsafeLimits, LimitsWithoutEnvelope
from ringmain_protocol.errors import MessageError
from ringmain_protocol.messages import Envelope, EnvelopeAnswer, Scope, encode
from support.sites import station

DAY_MS = 86_400_000
NOW_MS = 1_790_000_000_000 - 1_790_000_000_000 % DAY_MS
SITE = station(import_limit_kw=1000.0, export_limit_kw=500.0)


def at(seconds: float = 0.0, *, trusted: bool = True, clock_s: float | None = None) -> Instant:
    """So many seconds after the start by the monotonic clock; the wall clock shows as much unless it says otherwise."""
    return Instant(NOW_MS + round(1000 * (seconds if clock_s is None else clock_s)), 100.0 + seconds, trusted)


def envelope(import_kw: list[float | None], issued_s: float = 0.0, **fields: Any) -> bytes:
    usual: dict[str, Any] = {"expires_at_ms": NOW_MS + DAY_MS, "priority": 1, "start_ms": NOW_MS, "step_s": 900}
    usual |= {"issued_at_ms": NOW_MS + round(1000 * issued_s), "export_limit_kw": []}
    return encode(Envelope(import_limit_kw=import_kw, **usual | fields))


def import_kw(envelopes: Envelopes, moment: Instant, site: Any = SITE) -> float:
    return limits_in_force(site, envelopes, (), [moment.now_ms], moment).import_kw[0]


def refused(envelopes: Envelopes, name: str, payload: bytes, moment: Instant) -> str:
    with pytest.raises(MessageError) as caught:
        envelopes.take(name, payload, moment)
    return caught.value.reason


def restarted(envelopes: Envelopes, moment: Instant, now_s: float) -> Envelopes:
    """As after a restart: another monotonic clock, and only what was kept."""
    again = Envelopes()
    again.restore(envelopes.kept(moment), now_s)
    return again


def test_binding_envelopes_narrow_together_while_they_hold() -> None:
    envelopes = Envelopes()
    envelopes.take("", envelope([80.0, 2000.0, None], priority=9, export_limit_kw=[0.0]), at())
    envelopes.take("congestion", envelope([90.0, 60.0], priority=0), at())
    starts = [NOW_MS + 900_000 * step for step in range(3)]
    limits = limits_in_force(SITE, envelopes, (), starts, at())
    assert limits.import_kw == [80.0, 60.0, 1000.0]
    assert limits.export_kw == [0.0, 500.0, 500.0]


def test_older_issue_is_refused_also_after_the_newer_one_ended() -> None:
    envelopes = Envelopes()
    assert envelopes.take("dso", envelope([50.0], 0.0, expires_at_ms=NOW_MS + 60_000), at()) == EnvelopeAnswer(
        accepted=True, issued_at_ms=NOW_MS, in_effect_at_ms=NOW_MS
    )
    assert refused(envelopes, "dso", envelope([900.0], -3000.0), at(1.0)) == "older_issue"
    assert import_kw(envelopes, at(1.0)) == 50.0
    assert import_kw(envelopes, at(60.0)) == 1000.0
    assert refused(envelopes, "dso", envelope([900.0], -3000.0), at(61.0)) == "older_issue"


@pytest.mark.parametrize("issued_s", [3601.0, 1e9, 4e15])
def test_issue_from_ahead_is_refused_by_a_trusted_clock(issued_s: float) -> None:
    envelopes = Envelopes()
    assert refused(envelopes, "dso", envelope([50.0], issued_s), at()) == "implausible_time"
    assert envelopes.take("dso", envelope([50.0], 3600.0), at()).accepted


def test_issue_from_ahead_that_a_clock_in_doubt_took_does_not_outlast_a_correct_one() -> None:
    envelopes = Envelopes()
    assert envelopes.take("dso", envelope([50.0], 1e9), at(trusted=False)).accepted
    assert import_kw(envelopes, at(1.0, trusted=False)) == 50.0
    assert envelopes.take("dso", envelope([60.0], 2.0), at(2.0)).accepted
    assert import_kw(envelopes, at(2.0)) == 60.0


def test_validity_counts_from_the_first_receipt_whatever_the_clock_does() -> None:
    """Repetitions and retained messages that come again renew nothing."""
    envelopes, payload = Envelopes(), envelope([50.0], valid_for_s=100.0)
    first = envelopes.take("dso", payload, at())
    assert envelopes.take("dso", payload, at(90.0), retained=True) == first
    for moment in (at(99.0), at(99.0, trusted=False, clock_s=-DAY_MS), at(99.0, clock_s=0.0)):
        assert import_kw(envelopes, moment) == 50.0
    assert import_kw(envelopes, at(100.0, clock_s=0.0)) == 1000.0
    assert refused(envelopes, "dso", payload, at(101.0)) == "ended"
    assert import_kw(envelopes, at(102.0)) == 1000.0


def test_correction_under_the_same_issue_time_renews_nothing() -> None:
    envelopes = Envelopes()
    envelopes.take("dso", envelope([50.0], valid_for_s=100.0), at())
    envelopes.take("dso", envelope([40.0], valid_for_s=1000.0), at(50.0))
    assert import_kw(envelopes, at(99.0)) == 40.0
    assert import_kw(envelopes, at(100.0)) == 1000.0


def test_of_both_ends_the_earlier_counts_and_what_has_ended_is_refused() -> None:
    envelopes = Envelopes()
    envelopes.take("dso", envelope([50.0], valid_for_s=1e6, expires_at_ms=NOW_MS + 10_000), at())
    assert import_kw(envelopes, at(9.0)) == 50.0
    assert import_kw(envelopes, at(10.0)) == 1000.0
    assert refused(envelopes, "other", envelope([50.0], expires_at_ms=NOW_MS + 10_000), at(10.0)) == "ended"


def test_expired_envelope_does_not_come_back_when_the_clock_is_set_back() -> None:
    envelopes = Envelopes()
    envelopes.take("dso", envelope([50.0], expires_at_ms=NOW_MS + 10_000), at())
    envelopes.advance(at(10.0))
    assert import_kw(envelopes, at(11.0, clock_s=0.0)) == 1000.0
    assert not envelopes.kept(at(11.0)).envelopes


def test_binding_envelope_is_not_withdrawn_and_becomes_no_request() -> None:
    envelopes = Envelopes()
    envelopes.take("dso", envelope([50.0]), at())
    assert refused(envelopes, "dso", b"", at(1.0)) == "binding"
    assert refused(envelopes, "dso", envelope([50.0], 1.0, breach_price_per_kwh=0.0, priority=9), at(1.0)) == "binding"
    assert refused(envelopes, "dso", b'{"issued_at_ms": 1}', at(1.0)) == "invalid"
    assert import_kw(envelopes, at(2.0)) == 50.0
    assert envelopes.take("dso", envelope([70.0], 2.0), at(2.0)).accepted
    assert import_kw(envelopes, at(2.0)) == 70.0


def test_empty_payload_withdraws_a_request_and_an_ended_envelope() -> None:
    envelopes = Envelopes()
    envelopes.take("flex", envelope([50.0], breach_price_per_kwh=1.0), at())
    envelopes.take("dso", envelope([50.0], valid_for_s=10.0), at())
    assert envelopes.take("flex", b"", at(1.0)) == EnvelopeAnswer(accepted=True)
    assert envelopes.take("dso", b"", at(10.0)) == EnvelopeAnswer(accepted=True)
    assert envelopes.requests(at(10.0)) == []
    assert import_kw(envelopes, at(10.0)) == 1000.0


def test_full_table_opens_no_limit_and_requests_give_way() -> None:
    envelopes = Envelopes()
    for number in range(MAX_ENVELOPES - 1):
        envelopes.take(f"e{number}", envelope([90.0 - number]), at())
    envelopes.take("flex", envelope([1.0], breach_price_per_kwh=1.0), at())
    assert refused(envelopes, "wish", envelope([1.0], breach_price_per_kwh=1.0), at()) == "too_many_envelopes"
    assert envelopes.take("last", envelope([30.0]), at()).accepted
    assert refused(envelopes, "more", envelope([900.0]), at()) == "too_many_envelopes"
    assert import_kw(envelopes, at()) == 30.0
    assert envelopes.take("last", envelope([20.0], 1.0), at(1.0)).accepted
    assert import_kw(envelopes, at(1.0)) == 20.0


def test_expired_envelopes_take_no_room_after_a_restart() -> None:
    """Sixteen day envelopes of yesterday: the valid one of today is taken, and nothing grows."""
    envelopes = Envelopes()
    for number in range(MAX_ENVELOPES):
        envelopes.take(f"day_{number}", envelope([90.0], expires_at_ms=NOW_MS + 1000), at())
    again = restarted(envelopes, at(), 5.0)
    tomorrow = Instant(NOW_MS + DAY_MS // 2, 6.0)
    assert again.take("today", envelope([50.0], DAY_MS / 2000, start_ms=tomorrow.now_ms), tomorrow).accepted
    assert import_kw(again, tomorrow) == 50.0
    assert list(again.kept(tomorrow).envelopes) == ["today"]
    for number in range(2 * MAX_NAMES):
        again.take(
            f"x{number}", envelope([90.0], DAY_MS / 2000, valid_for_s=1.0), Instant(tomorrow.now_ms, 10.0 + 2 * number)
        )
    assert len(again.kept(tomorrow).newest_issue_ms) <= MAX_NAMES


def test_size_of_an_envelope_is_bounded() -> None:
    envelopes = Envelopes()
    assert refused(envelopes, "dso", envelope([1.0] * 4001), at()) == "too_large"
    assert refused(envelopes, "dso", envelope([1.0]) + b" " * MAX_ENVELOPE_BYTES, at()) == "too_large"


def test_silence_of_twice_the_heartbeat_brings_the_fail_safe_until_a_new_issue() -> None:
    envelopes = Envelopes()
    fields = {"heartbeat_s": 60.0, "failsafe_import_kw": 4.2}
    envelopes.take("dso", envelope([50.0], **fields), at())
    envelopes.take("dso", envelope([50.0], **fields), at(100.0))  # a repetition is no heartbeat
    assert import_kw(envelopes, at(120.0)) == 50.0
    assert import_kw(envelopes, at(120.1)) == 4.2
    assert refused(envelopes, "dso", b"", at(130.0)) == "binding"
    limits = limits_in_force(SITE, envelopes, (), [NOW_MS, NOW_MS + DAY_MS], at(130.0))
    assert limits.import_kw == [4.2, 4.2]
    reasons = [source.reason.text for source in limits.sources if source.reason is not None]
    silence = "has had no new issue for 130 s, twice its heartbeat"
    assert reasons == [f"envelope dso {silence}; its fail-safe holds until the next issue: import 4.2 kW"]
    envelopes.take("dso", envelope([60.0], 131.0, **fields), at(131.0))
    assert import_kw(envelopes, at(131.0)) == 60.0


def test_end_of_an_envelope_with_a_heartbeat_is_its_fail_safe() -> None:
    envelopes = Envelopes()
    envelopes.take("dso", envelope([50.0], heartbeat_s=1000.0, failsafe_import_kw=4.2, valid_for_s=10.0), at())
    assert import_kw(envelopes, at(10.0)) == 4.2
    assert import_kw(envelopes, at(1e6)) == 4.2


def test_fail_safe_that_was_not_issued_is_the_narrowest_step() -> None:
    """Silence opens nothing."""
    envelopes = Envelopes()
    envelopes.take("dso", envelope([50.0, 20.0, 900.0], heartbeat_s=60.0), at())
    assert import_kw(envelopes, at(121.0)) == 20.0


def test_fail_safe_holds_at_least_for_its_time() -> None:
    envelopes = Envelopes()
    fields = {"heartbeat_s": 60.0, "failsafe_import_kw": 4.2, "failsafe_min_s": 100.0}
    envelopes.take("dso", envelope([50.0], **fields), at())
    envelopes.advance(at(130.0))
    envelopes.take("dso", envelope([50.0], 131.0, **fields), at(131.0))
    assert import_kw(envelopes, at(131.0)) == 4.2
    again = restarted(envelopes, at(140.0), 0.0)
    assert import_kw(again, Instant(NOW_MS + 140_000, 0.0)) == 4.2
    envelopes.take("dso", envelope([50.0], 200.0, **fields), at(200.0))
    assert import_kw(envelopes, at(229.0)) == 4.2
    assert import_kw(envelopes, at(230.0)) == 50.0


def test_after_a_restart_a_name_with_a_heartbeat_begins_in_fail_safe() -> None:
    envelopes, payload = Envelopes(), envelope([50.0], heartbeat_s=3600.0, failsafe_import_kw=4.2)
    envelopes.take("dso", payload, at())
    again = restarted(envelopes, at(1.0), 0.0)
    assert import_kw(again, Instant(NOW_MS + 2000, 0.1)) == 4.2
    again.take("dso", payload, Instant(NOW_MS + 2000, 0.2), retained=True)
    assert import_kw(again, Instant(NOW_MS + 2000, 0.3)) == 4.2
    again.take("dso", envelope([60.0], 3.0, heartbeat_s=3600.0), Instant(NOW_MS + 3000, 1.0))
    assert import_kw(again, Instant(NOW_MS + 3000, 1.0)) == 60.0


def test_after_a_restart_validity_goes_on_and_a_trusted_clock_ends_it() -> None:
    envelopes = Envelopes()
    envelopes.take("dso", envelope([50.0, 50.0], valid_for_s=1000.0), at())
    again = restarted(envelopes, at(400.0), 0.0)
    assert import_kw(again, Instant(NOW_MS + 999_000, 1.0)) == 50.0
    assert import_kw(again, Instant(NOW_MS, 599.0, clock_trusted=False)) == 50.0
    assert import_kw(again, Instant(NOW_MS, 600.0, clock_trusted=False)) == 1000.0
    assert import_kw(again, Instant(NOW_MS + 1_000_000, 1.0)) == 1000.0


@pytest.mark.parametrize("years", [-57, -1, 1, 73])
def test_clock_in_doubt_leaves_the_narrowest_step_of_every_envelope(years: int) -> None:
    envelopes = Envelopes()
    envelopes.take("dso", envelope([500.0, 30.0], expires_at_ms=NOW_MS + 1_800_000), at())
    moment = at(10.0, trusted=False, clock_s=years * 31_536_000.0)
    envelopes.advance(moment)
    limits = limits_in_force(SITE, envelopes, (), [moment.now_ms, moment.now_ms + DAY_MS], moment)
    assert limits.import_kw == [30.0, 30.0]
    assert import_kw(envelopes, at(20.0)) == 500.0


def test_issue_that_a_clock_in_doubt_took_holds_with_its_narrowest_step_for_its_validity() -> None:
    envelopes = Envelopes()
    site = station(without_envelope=LimitsWithoutEnvelope(names=("dso",), import_kw=100.0))
    payload = envelope([500.0, 300.0], -1e9, start_ms=0, valid_for_s=60.0, expires_at_ms=1)
    assert import_kw(envelopes, at(trusted=False), site) == 100.0
    assert envelopes.take("dso", payload, at(trusted=False)).accepted
    assert import_kw(envelopes, at(59.0, trusted=False), site) == 300.0
    assert import_kw(envelopes, at(60.0, trusted=False), site) == 100.0


def test_limit_without_an_envelope_holds_for_each_direction_and_instant_without_a_value() -> None:
    without = LimitsWithoutEnvelope(names=("dso", "tso"), import_kw=100.0, export_kw=0.0)
    site, envelopes = station(without_envelope=without), Envelopes()
    envelopes.take("other", envelope([700.0]), at())
    assert import_kw(envelopes, at(), site) == 100.0
    envelopes.take("dso", envelope([800.0, None, 900.0], expires_at_ms=NOW_MS + 1_800_000), at())
    starts = [NOW_MS + 900_000 * step for step in range(4)]
    limits = limits_in_force(site, envelopes, (), starts, at())
    assert limits.import_kw == [700.0, 100.0, 100.0, 100.0]
    assert limits.export_kw == [0.0] * 4
    envelopes.take("flex", envelope([900.0], 1.0, breach_price_per_kwh=0.0), at(1.0))
    assert import_kw(envelopes, at(1.0), site) == 700.0


def test_remembered_envelope_opens_nothing_before_a_trusted_clock_confirms_it() -> None:
    site = station(without_envelope=LimitsWithoutEnvelope(import_kw=100.0))
    envelopes = Envelopes()
    envelopes.take("", envelope([800.0], valid_for_s=1000.0), at())
    again = restarted(envelopes, at(), 0.0)
    assert import_kw(again, Instant(NOW_MS, 1.0, clock_trusted=False), site) == 100.0
    assert import_kw(again, Instant(NOW_MS + 1000, 1.0), site) == 800.0
    assert import_kw(again, Instant(NOW_MS + 1_000_000, 1.0), site) == 100.0


def test_limit_returns_after_a_delay_and_gradually() -> None:
    envelopes = Envelopes(random.Random(1))
    fields = {"release_ramp_s": 100.0, "release_delay_max_s": 40.0}
    envelopes.take("dso", envelope([0.0], valid_for_s=60.0, **fields), at())
    envelopes.advance(at(59.0))
    envelopes.advance(at(60.0))
    delay_s = random.Random(1).uniform(0.0, 40.0)
    assert import_kw(envelopes, at(60.0 + delay_s)) == 0.0
    assert import_kw(envelopes, at(110.0 + delay_s)) == pytest.approx(500.0)
    ahead = limits_in_force(SITE, envelopes, (), [NOW_MS + 135_000 + round(1000 * delay_s)], at(60.0))
    assert ahead.import_kw[0] == pytest.approx(750.0, abs=0.01)
    envelopes.take("dso", envelope([50.0], 120.0, **fields), at(120.0))
    assert import_kw(envelopes, at(120.0)) == 50.0
    again = restarted(envelopes, at(120.0), 0.0)
    assert import_kw(again, Instant(NOW_MS + 120_000, 0.0)) <= 50.0


def test_limit_that_ends_while_an_earlier_return_runs_returns_from_its_own_value() -> None:
    envelopes = Envelopes()
    envelopes.take("dso", envelope([0.0], release_ramp_s=100.0), at())
    envelopes.take("dso", envelope([1000.0], 10.0, release_ramp_s=100.0), at(10.0))
    assert import_kw(envelopes, at(90.0)) == pytest.approx(800.0)
    envelopes.take("dso", envelope([20.0], 90.0, release_ramp_s=100.0), at(90.0))
    envelopes.take("dso", envelope([1000.0], 91.0, release_ramp_s=100.0), at(91.0))
    assert import_kw(envelopes, at(91.0)) <= 20.0


def test_limit_of_the_controllable_equipment_is_none_of_the_pcc() -> None:
    envelopes = Envelopes()
    envelopes.take("dso", envelope([4.2], scope=Scope.CONTROLLABLE), at())
    limits = limits_in_force(SITE, envelopes, (), [NOW_MS], at())
    assert (limits.import_kw, limits.controllable_import_kw) == ([1000.0], [4.2])


def test_lost_envelopes_leave_the_fail_safe_of_the_connection_until_each_has_a_new_issue() -> None:
    site = station(import_limit_kw=1000.0, failsafe=FailsafeLimits(import_kw=10.0))
    envelopes = Envelopes()
    envelopes.lose(["dso", "tso"])
    assert import_kw(envelopes, at(), site) == 10.0
    envelopes.take("dso", envelope([50.0]), at(), retained=True)  # may be an old one
    envelopes.take("tso", envelope([90.0], 1.0), at(1.0))
    assert import_kw(restarted(envelopes, at(1.0), 0.0), at(1.0), site) == 10.0
    envelopes.take("dso", envelope([60.0], 2.0), at(2.0))
    assert import_kw(envelopes, at(2.0), site) == 60.0
