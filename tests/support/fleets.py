"""Sites and a bridge in every state that metrics, alerts and the fleet page know."""

from typing import Any, Final

from ringmain_bridge.fleet.bridge_metrics import BridgeState
from ringmain_bridge.fleet.state import SiteState
from ringmain_bridge.forwarding.ack_window import Counts
from ringmain_protocol.messages import ActiveFailsafe, Fallback, Limit, Mode, ReasonCode, Status

SIGNALS: Final = ("load_kw", "battery_soc_kwh", "temperature_degc")


def status(**changes: Any) -> Status:
    """What a site in good order says, with a value in every field."""
    fields: dict[str, Any] = {
        "at_ms": 1, "time_zone": "Europe/Amsterdam", "agent_version": "0.1.0", "config_sha256": "ab" * 32,
        "stream": "0123456789abcdef", "mode": Mode.CONTROL, "mode_source": "configuration", "fallback": Fallback.OPTIMAL,
        "releases": {"load_kw": 7, "pv_kw": 7},
        "forecast_error_kw": {"load_kw": 41.5, "pv_kw": 12.25}, "persistence_error_kw": {"load_kw": 83.0, "pv_kw": 24.5},
        "soc_pu": {"battery": 0.4}, "transformer_loading_pu": {"t1": 0.5}, "transformer_hot_spot_degc": {"t1": 71.5},
        "billing_peak_kw": 3100.0, "outbox_messages": 12, "outbox_capacity_messages": 200_000, "dropped": {}, "rejected": {},
        "connections": {"local": "", "upstream": ""},
    }  # fmt: skip
    return Status(**(fields | changes))


def site(name: str, *, now_s: float, **changes: Any) -> SiteState:
    """A site in good order at `now_s`; changes are of the state, or of its status where the state has no such field."""
    own = {field: changes.pop(field) for field in list(changes) if field in SiteState.__struct_fields__}
    fields: dict[str, Any] = {
        "site": name, "touched_s": 0.0, "last_seen_ms": int(now_s * 1000), "online": True, "status": status(**changes),
        "clock_offset_s": 0.05, "signals": {"load_kw": 812.5, "battery_soc_kwh": 4000.0, "temperature_degc": 11.5},
    }  # fmt: skip
    return SiteState(**(fields | own))


SILENT_OPERATOR: Final = Limit(name="import_kw", value=4.2, source="fail-safe of envelope dso", since_ms=0)


def sick_sites(*, now_s: float) -> list[SiteState]:
    """One site for each thing that can be wrong with one."""
    return [
        site("uw-101", now_s=now_s),
        site("uw-102", now_s=now_s, mode=Mode.OBSERVE, mode_source="switch", reason_codes=[ReasonCode.SECOND_AGENT]),
        site("uw-103-offline", now_s=now_s - 4000, online=False),
        site("uw-104-silent", now_s=now_s - 2000),
        site(
            "uw-105-refuses", now_s=now_s, not_followed=["battery"], limits=[SILENT_OPERATOR],
            balance_residual_kw=330.0, reason_codes=[ReasonCode.BALANCE_RESIDUAL],
        ),
        site("uw-106-hot", now_s=now_s, transformer_loading_pu={"t1": 1.08}, transformer_hot_spot_degc={"t1": 118.0}),
        site("uw-107-filling", now_s=now_s, outbox_messages=150_000),
        site("uw-108-clock", now_s=now_s, clock_offset_s=-86_400.0, clock_trusted=False),
        site("uw-109-no-model", now_s=now_s, releases={"load_kw": 0, "pv_kw": 7}, fallback=Fallback.SHIFTED),
        site(
            "uw-110-worse", now_s=now_s, forecast_error_kw={"load_kw": 99.0},
            models_put_aside={"pv_kw": "release 8: 2 times ended the planner"},
        ),
        site(
            "uw-111-no-plan", now_s=now_s, fallback=Fallback.FAILSAFE, reason="no feed of the grid connection",
            reason_codes=[ReasonCode.METER_LOST], failsafe=ActiveFailsafe(why="no feed of the grid connection", since_ms=1),
            dropped={"full": 4}, rejected={"unit": 2}, stage_failures={"plan": 3},
            state_begun_anew="2026-11-24T12:00:00Z: file is not a database",
            connections={"local": "connection refused"},
        ),
        site("uw-112-new", now_s=now_s, status=None, signals={}, clock_offset_s=None, online=None),
    ]  # fmt: skip


def bridge_state(counts: Counts | None = None, **changes: Any) -> BridgeState:
    """What a bridge says that works, after some troubles."""
    state = BridgeState(
        counts=counts or counted(), reconnects={"connection_lost": 2, "refused": 0}, mqtt_connected=True, kafka_ready=True,
        client_id_contested=False, delivery_errors={"_MSG_TIMED_OUT": 1}, receipts_published=9, sites_expired=1,
        fleet_refused=0, version="0.1.0",
    )  # fmt: skip
    return state._replace(**changes)


def counted(**changes: Any) -> Counts:
    """Counts that add up."""
    counts = Counts(
        received=10, delivered=6, dead_lettered={"invalid": 1}, dropped={"overflow": 1}, in_flight=2, consumed=4,
        reattached=5, unacknowledged=3, oldest_unacknowledged_s=1234.5, sessions_lost=1,
    )  # fmt: skip
    return counts._replace(**changes)
