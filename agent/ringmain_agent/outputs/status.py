"""The status of a site: what it measures, what it decides on, and what is wrong."""

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec.structs import replace

from ringmain_agent import __version__
from ringmain_agent.config.agent import LoadedConfig
from ringmain_agent.control.regulate import Regulation
from ringmain_agent.equipment import transformer_thermal as thermal
from ringmain_agent.equipment.transformer import loadings_pu
from ringmain_agent.outputs.decision_reports import REASON_MAX
from ringmain_agent.outputs.forecast_accuracy import ForecastAccuracy
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import Measurements
from ringmain_protocol.messages import Mode, Status

SOC_STALE_AFTER_S = 86_400.0


def current_status(  # noqa: PLR0913  keyword-only: one message
    *,
    loaded: LoadedConfig,
    mode: Mode,
    regulation: Regulation,
    measurements: Measurements,
    accuracy: Mapping[str, ForecastAccuracy],
    reasons: Iterable[str],
    **counts: Any,  # noqa: ANN401  fields of the message that are passed through
) -> Status:
    """The status now; `counts` are what outbox, connections, models and equipment say of themselves."""
    config, site = loaded.config, loaded.site
    errors = {signal: one.error_kw for signal, one in accuracy.items()}
    persistence = {signal: one.persistence_error_kw for signal, one in accuracy.items()}
    return Status(
        at_ms=measurements.now_ms,
        time_zone=config.time_zone,
        agent_version=__version__,
        config_sha256=loaded.sha256,
        mode=mode,
        mode_source="switch" if config.mode is Mode.CONTROL and config.switch else "configuration",
        fallback=regulation.fallback,
        forecast_error_kw={signal: error for signal, error in errors.items() if error is not None},
        persistence_error_kw={signal: error for signal, error in persistence.items() if error is not None},
        soc_pu=_soc_pu(measurements, site),
        transformer_loading_pu=loadings_pu(measurements, site),
        transformer_hot_spot_degc={name: thermal.hot_spot_degc(state) for name, state in measurements.thermal.items()},
        reason="; ".join(dict.fromkeys(reason for reason in reasons if reason))[:REASON_MAX],
        **counts,
    )


def _soc_pu(measurements: Measurements, site: Site) -> dict[str, float]:
    of_a_day = replace(measurements, stale_after_s=SOC_STALE_AFTER_S)
    soc_kwh = {battery: of_a_day.fresh(battery.soc_signal) for battery in site.batteries}
    return {battery.name: value / battery.capacity_kwh for battery, value in soc_kwh.items() if value is not None}
