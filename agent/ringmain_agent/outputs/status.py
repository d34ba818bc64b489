"""The status of a site: measurements, decisions, and problems."""

from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from ringmain_agent import __version__
from ringmain_agent.config.agent import LoadedConfig
from ringmain_agent.control.failsafe import Failsafe
from ringmain_agent.equipment import transformer_thermal as thermal
from ringmain_agent.equipment.transformer import loadings_pu
from ringmain_agent.outputs.decision_reports import REASON_MAX, codes
from ringmain_agent.outputs.feed_states import feed_states
from ringmain_agent.outputs.forecast_accuracy import ForecastAccuracies
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import Measurements, Reason, reason_text
from ringmain_protocol.messages import ActiveFailsafe, Fallback, Limit, Mode, Status

LIMITS_MAX: Final = 64
SOC_STALE_AFTER_S: Final = 86_400.0
"""The status shows the energy of a battery for this time after its measurement."""


class ControlState(Struct, frozen=True, kw_only=True):
    """Result of the newest cycle; `reasons` are the problems of plan and regulator."""

    measurements: Measurements
    mode: Mode
    fallback: Fallback
    reasons: Sequence[Reason]
    not_followed: Sequence[str]
    failsafe: Failsafe | None = None
    limits: Sequence[Limit] = ()
    billing_peak_kw: float
    accuracy: ForecastAccuracies
    stage_failures: Mapping[str, int] = {}
    balance_residual_kw: float | None = None
    feed_reasons: Mapping[str, str] = {}
    """Why the value of a feed does not count, or is calculated, by signal."""


class ProgramState(Struct, frozen=True, kw_only=True):
    """State of the program around control: outbox, connections, models; `reasons` are their problems."""

    stream: str
    state_begun_anew: str = ""
    state_failures: int = 0
    releases: Mapping[str, int]
    models_put_aside: Mapping[str, str]
    reasons: Sequence[Reason]
    outbox_messages: int
    outbox_capacity_messages: int
    dropped: Mapping[str, int]
    rejected: Mapping[str, int]
    connections: Mapping[str, str]


def current_status(loaded: LoadedConfig, control: ControlState, program: ProgramState) -> Status:
    """The present status; it names each problem once."""
    config, measurements = loaded.config, control.measurements
    reasons = (*control.reasons, *program.reasons)
    return Status(
        at_ms=measurements.now_ms,
        time_zone=config.time_zone,
        agent_version=__version__,
        config_sha256=loaded.sha256,
        stream=program.stream,
        mode=control.mode,
        mode_source="switch" if config.mode is Mode.CONTROL and config.switch else "configuration",
        fallback=control.fallback,
        releases=dict(program.releases),
        models_put_aside=dict(program.models_put_aside),
        forecast_error_kw=control.accuracy.errors_kw,
        persistence_error_kw=control.accuracy.persistence_errors_kw,
        soc_pu=_soc_pu(measurements, loaded.site),
        transformer_loading_pu=loadings_pu(measurements, loaded.site),
        transformer_hot_spot_degc={name: thermal.hot_spot_degc(state) for name, state in measurements.thermal.items()},
        billing_peak_kw=control.billing_peak_kw,
        outbox_messages=program.outbox_messages,
        outbox_capacity_messages=program.outbox_capacity_messages,
        dropped=dict(program.dropped),
        rejected=dict(program.rejected),
        stage_failures=dict(control.stage_failures)
        | ({"state_file": failures} if (failures := program.state_failures) else {}),
        state_begun_anew=program.state_begun_anew[:REASON_MAX],
        clock_trusted=measurements.clock_trusted,
        connections=dict(program.connections),
        not_followed=list(control.not_followed),
        failsafe=_active_failsafe(control.failsafe),
        powers_kw=_powers_kw(measurements, loaded.site),
        balance_residual_kw=control.balance_residual_kw,
        feeds=feed_states(config.feeds, measurements, control.feed_reasons),
        reason=reason_text(reasons)[:REASON_MAX],
        reason_codes=codes(reasons),
        limits=list(control.limits[:LIMITS_MAX]),
    )


def _active_failsafe(failsafe: Failsafe | None) -> ActiveFailsafe | None:
    if failsafe is None or not failsafe.is_active:
        return None
    return ActiveFailsafe(why=failsafe.why[:REASON_MAX], since_ms=max(failsafe.since_ms, 0))


def _powers_kw(measurements: Measurements, site: Site) -> dict[str, float]:
    powers_kw = {equipment.name: measurements.fresh(equipment.power_signal) for equipment in site.powered}
    return {name: power_kw for name, power_kw in powers_kw.items() if power_kw is not None}


def _soc_pu(measurements: Measurements, site: Site) -> dict[str, float]:
    of_a_day = replace(measurements, stale_after_s=SOC_STALE_AFTER_S, feed_stale_after_s={})
    soc_kwh = {battery: of_a_day.fresh(battery.soc_signal) for battery in site.batteries}
    return {battery.name: value / battery.capacity_kwh for battery, value in soc_kwh.items() if value is not None}
