"""File format of a snapshot for `ringmain-agent plan`: JSON with lists of numbers, and times as text.

Most keys are optional: limits default to the site's, prices to the tariff's. `null` is a missing value. Keys have the units
and signs of a Snapshot.
"""

import difflib
import json
from array import array
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

from msgspec import Meta, Struct, field

from ringmain_agent.equipment.registry import KINDS, equipment_by_kind
from ringmain_agent.site.hours import step_starts_ms
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import ChargingSession, ForecastResult, LoadUsage, Snapshot, ThermalState
from ringmain_program.config import ConfigError, convert, parts

MAX_BYTES: Final = 10_000_000
Instant = Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:\d\d)$")]
"""RFC 3339, such as `2026-06-01T00:00:00Z`."""
Series = list[float | None]


class VisitFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A charging session: the energy that a vehicle needs between two instants."""

    from_at: Instant
    to_at: Instant
    energy_kwh: Annotated[float, Meta(ge=0, lt=1e6)]


class UsageFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Usage of a load in its current hours."""

    on: bool = False
    since_at: Instant | None = None
    run_h: Annotated[float, Meta(ge=0)] = 0.0
    starts: Annotated[int, Meta(ge=0)] = 0
    drawn_kwh: Annotated[float, Meta(ge=0)] = 0.0


class ThermalFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Temperatures of a transformer."""

    top_oil_degc: float
    winding_k: float
    oil_lag_k: float = 0.0


class SnapshotFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file. `forecasts` holds the median of the load and of each generator, `forecasts_high` the upper quantile.

    Without a forecast of a signal, its `history` is repeated; the last value belongs to the step before `issued_at`.
    """

    issued_at: Instant
    soc_kwh: dict[str, float | None] = {}
    forecasts: dict[str, list[float]] = {}
    forecasts_high: dict[str, list[float]] = {}
    known_future: dict[str, Series] = {}
    history: dict[str, Series] = {}
    import_limit_kw: list[float] | None = None
    export_limit_kw: list[float] | None = None
    requested_import_kw: Series = field(default_factory=list, name="wished_import_kw")
    requested_export_kw: Series = field(default_factory=list, name="wished_export_kw")
    breach_price_per_kwh: Annotated[float, Meta(ge=0)] = field(default=0.0, name="breach_per_kwh")
    billing_peak_kw: dict[str, float] = {}
    runs: dict[str, UsageFile] = {}
    visits: dict[str, list[VisitFile]] = {}
    temperature_degc: dict[str, float | None] = {}
    thermal: dict[str, ThermalFile] = {}
    positions: dict[str, int | None] = {}
    operations_left: dict[str, int] = {}
    unresponsive_kw: dict[str, float] = field(default_factory=dict, name="held_kw")
    voltage_pu: float | None = None
    pcc_kw: float | None = None
    pcc_kvar: float | None = None


def read_snapshot(path: Path, site: Site) -> Snapshot:
    """The snapshot in a file.

    Raises:
        ConfigError: With every problem in it: key, problem, nearest valid name.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    if len(raw) > MAX_BYTES:
        raise ConfigError(f"{path}: {len(raw)} bytes; a snapshot has at most {MAX_BYTES} bytes")
    try:
        table = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: must be a JSON object")
    file = convert(table, SnapshotFile, name=str(path), check=lambda table: _problems(table, site))
    return _as_snapshot(file, site)


def _as_snapshot(file: SnapshotFile, site: Site) -> Snapshot:
    issued_at_ms = _ms(file.issued_at)
    starts_ms = step_starts_ms(issued_at_ms, site.step_s, site.horizon_steps)
    import_limit_kw, export_limit_kw = site.own_limits_kw(starts_ms)
    return Snapshot(
        issued_at_ms=issued_at_ms,
        step_s=site.step_s,
        history={signal: _packed(values) for signal, values in file.history.items()},
        known_future=file.known_future,
        import_limit_kw=import_limit_kw if file.import_limit_kw is None else file.import_limit_kw,
        export_limit_kw=export_limit_kw if file.export_limit_kw is None else file.export_limit_kw,
        soc_kwh={battery.name: file.soc_kwh.get(battery.name) for battery in site.batteries},
        requested_import_kw=file.requested_import_kw,
        requested_export_kw=file.requested_export_kw,
        breach_price_per_kwh=file.breach_price_per_kwh,
        billing_peak_kw=file.billing_peak_kw,
        runs={name: _usage(usage, issued_at_ms) for name, usage in file.runs.items()},
        visits={name: [_session(visit) for visit in visits] for name, visits in file.visits.items()},
        temperature_degc=file.temperature_degc,
        thermal={name: ThermalState(t.top_oil_degc, t.winding_k, t.oil_lag_k) for name, t in file.thermal.items()},
        positions=file.positions,
        operations_left=file.operations_left,
        voltage_pu=file.voltage_pu,
        pcc_kw=file.pcc_kw,
        pcc_kvar=file.pcc_kvar,
        unresponsive_kw=file.unresponsive_kw,
        forecasts=[_forecast(signal, file, site) for signal in file.forecasts],
    )


def _forecast(signal: str, file: SnapshotFile, site: Site) -> ForecastResult:
    """The median alone, or with the site's upper quantile; release 1 distinguishes it from persistence."""
    median, high = file.forecasts[signal], file.forecasts_high.get(signal)
    if high is None or site.limit_quantile <= 0.5:
        return ForecastResult(signal=signal, quantiles=[0.5], values=[[value] for value in median], release=1)
    values = [[middle, max(middle, upper)] for middle, upper in zip(median, high, strict=True)]
    return ForecastResult(signal=signal, quantiles=[0.5, site.limit_quantile], values=values, release=1)


def _session(visit: VisitFile) -> ChargingSession:
    return ChargingSession(from_ms=_ms(visit.from_at), to_ms=_ms(visit.to_at), energy_kwh=visit.energy_kwh)


def _usage(usage: UsageFile, issued_at_ms: int) -> LoadUsage:
    since_ms = issued_at_ms if usage.since_at is None else _ms(usage.since_at)
    return LoadUsage(on=usage.on, since_ms=since_ms, run_h=usage.run_h, starts=usage.starts, drawn_kwh=usage.drawn_kwh)


def _packed(values: Series) -> bytes:
    """Values in the format of a Snapshot; all platforms of NumPy and HiGHS are little-endian."""
    return array("f", [float("nan") if value is None else value for value in values]).tobytes()


def _ms(instant: str) -> int:
    return round(datetime.fromisoformat(instant).astimezone(UTC).timestamp() * 1000)


def _names(site: Site) -> dict[str, list[str]]:
    """Valid names below each key that holds a table."""
    names: dict[str, list[str]] = {kind.state_field: [] for kind in KINDS.values() if kind.state_field is not None}
    for kind, equipment in equipment_by_kind(site):
        if kind.state_field is not None:
            names[kind.state_field].append(equipment.name)
    return names | {
        "forecasts": list(site.forecast_signals),
        "forecasts_high": list(site.forecast_signals),
        "operations_left": [switched.name for switched in site.switched],
        "held_kw": [equipment.name for equipment in site.powered],
        "billing_peak_kw": [charge.name for charge in site.tariff.demand_charges],
    }


def _problems(table: dict[str, Any], site: Site) -> Iterator[str]:
    """Names and lengths that do not fit the site; the table may have any shape."""
    yield from _instant_problems(table, site)
    for key, valid in _names(site).items():
        for name in parts(table, key):
            if name not in valid:
                near = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
                hint = (
                    f"did you mean `{near[0]}`?"
                    if near
                    else f"valid are {', '.join(valid)}"
                    if valid
                    else "the site has none"
                )
                yield f"{key}.{name}: not of this site; {hint}"
    for key in ("forecasts", "forecasts_high"):
        for name in parts(table, key):
            yield from _length_problems(f"{key}.{name}", table[key][name], site)
    forecast_or_history = {*parts(table, "forecasts"), *parts(table, "history")}
    for signal in site.forecast_signals:
        if signal not in forecast_or_history:
            yield f"forecasts.{signal}: missing, and there is no history.{signal} to repeat"
    for key in ("import_limit_kw", "export_limit_kw"):
        yield from _length_problems(key, table.get(key), site)
    for name in set(parts(table, "forecasts_high")) - set(parts(table, "forecasts")):
        yield f"forecasts_high.{name}: needs forecasts.{name} too"


def _length_problems(key: str, values: object, site: Site) -> Iterator[str]:
    if isinstance(values, list) and len(values) != site.horizon_steps:
        yield f"{key}: {len(values)} values; the horizon has {site.horizon_steps} steps"


def _instant_problems(table: dict[str, Any], site: Site) -> Iterator[str]:
    instants = {"issued_at": table.get("issued_at")}
    for name in parts(table, "visits"):
        for index, visit in enumerate(table["visits"][name] if isinstance(table["visits"][name], list) else ()):
            if isinstance(visit, dict):
                instants |= {f"visits.{name}[{index}].{key}": visit.get(key) for key in ("from_at", "to_at")}
    for name in parts(table, "runs"):
        instants[f"runs.{name}.since_at"] = (
            table["runs"][name].get("since_at") if isinstance(table["runs"][name], dict) else None
        )
    for key, value in instants.items():
        if not isinstance(value, str):
            continue
        try:
            at_ms = _ms(value)
        except (ValueError, OverflowError):
            yield f"{key}: {value!r} is not an instant such as 2026-06-01T00:00:00Z"
            continue
        if key == "issued_at" and at_ms % (1000 * site.step_s):
            yield f"{key}: {value} is not at the START of a step of {site.step_s} s"
