"""History to candidates: one process per site and signal, each reads, fits, exports, proves and writes."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import version
from itertools import count
from math import gcd
from pathlib import Path
from typing import Any, Final

import numpy as np
from msgspec import Struct

from ringmain_protocol.manifest import FORMAT, ModelManifest
from ringmain_trainer.calendar import DAY_S
from ringmain_trainer.config.trainer import ModelConfig, TrainerConfig, TrainingConfig
from ringmain_trainer.errors import ExportError, TooLittleDataError
from ringmain_trainer.export.onnx_file import TOLERANCE, check_file, damaged, forecast_model, on_thresholds, prove, seal
from ringmain_trainer.export.onnx_runtime import open_session, run, run_in_blocks, single_latency_ms
from ringmain_trainer.features.design_matrix import Design, held_out
from ringmain_trainer.features.examples import Examples, Window, examples, training_rows
from ringmain_trainer.features.feature_graph import FEATURES, FeatureSpec, columns_of, feature_model
from ringmain_trainer.features.site_data import SiteData, read_site
from ringmain_trainer.models.fit import FittedModel, fit_model
from ringmain_trainer.registry.candidates import CandidateRecord, drop_candidate, is_waiting, prune_rejected, write_candidate
from ringmain_trainer.registry.champion import judge
from ringmain_trainer.registry.gate import Decision, Verdict
from ringmain_trainer.registry.input_reference import references
from ringmain_trainer.training.journal import inputs_hash

YEARS_AHEAD: Final = 6
"""Clock tables reach so many years beyond the year of the training or of its newest data."""

_UNRELEASED: Final = 1  # a manifest needs a release; the real one is given when it is published
_PROBES: Final = 6
_HELD_OUT_PROVED: Final = 200
_SHARE_NOTED: Final = 0.5
_FLOAT32_MAX: Final = float(np.finfo(np.float32).max)
_TOOLS: Final = ("scikit-learn", "skl2onnx", "onnx", "onnxruntime", "numpy", "tzdata")
_UNITS: Final = (
    *(("_per_kwh", "1/kWh"), ("_per_mwh", "1/MWh"), ("_w_per_m2", "W/m2"), ("_m_per_s", "m/s"), ("_kvar", "kvar")),
    *(("_kva", "kVA"), ("_kwh", "kWh"), ("_kw", "kW"), ("_degc", "degC"), ("_pct", "%"), ("_pu", "pu")),
)


class TrainingResult(Struct, frozen=True, kw_only=True):
    """What became of one site and signal; without a candidate `reason` says why.

    `decision` and `decision_reason` are the gate's: whether the candidate may be released, or was rejected.
    `masked` counts the values that were taken out as gaps by the rules of quality, by `signal.mark`.
    """

    site: str
    signal: str
    trained: bool
    reason: str = ""
    masked: dict[str, int] = {}
    decision: Decision | None = None
    decision_reason: str = ""
    metrics: dict[str, float] = {}
    trained_forecasts: int = 0
    model_bytes: int = 0
    latency_ms: float = 0.0
    train_s: float = 0.0
    notes: list[str] = []
    inputs_sha256: str = ""


class TrainedModel(Struct, frozen=True, kw_only=True):
    """One model, sealed and proved: the file, what it was made from, what it says of itself.

    `latency_ms` is measured, the same twice in no two trainings: it stands in no file. `notes` say what was missing.
    """

    content: bytes
    fitted: FittedModel
    manifest: ModelManifest
    spec: FeatureSpec
    latency_ms: float = 0.0
    notes: tuple[str, ...] = ()


def train_model(  # noqa: PLR0913  what, from what, when; and what is finished already
    config: TrainerConfig,
    site: str,
    model: ModelConfig,
    *,
    now: datetime,
    until: datetime | None,
    done: TrainingResult | None = None,
) -> TrainingResult:
    """Train, export and prove one model, and write it as a candidate; what waited before is removed first.

    `done` is what became of it in an interrupted training: it stands if the data are the same and its candidate still waits.
    """
    begin = time.monotonic()
    folder, inputs_sha256 = Path(config.candidates), ""
    try:
        data = read_site(config, site, model, until=until)
        inputs_sha256 = "" if data is None else inputs_hash(data)
        kept = done is not None and done.trained and done.decision is not Decision.REJECTED
        if done and done.inputs_sha256 == inputs_sha256 and kept == is_waiting(folder, model.signal, site):
            return done
        drop_candidate(folder, model.signal, site)
        if data is None:
            return _skipped(site, model, f"no steps of {model.signal} in the history")
        trained = fit_site(config, model, data, rows_of(config, data), now=now)
        verdict = _verdict(config, model, data, trained, now=now, until=until)
    except (TooLittleDataError, ExportError) as error:
        return _skipped(site, model, str(error), inputs_sha256)
    manifest = trained.manifest
    record = CandidateRecord(
        site=site,
        signal=model.signal,
        created_at_ms=manifest.created_at_ms,
        model_sha256="",
        dump_sha256="",
        trained_sha256=manifest.trained_sha256,
        trained_forecasts=manifest.trained_forecasts,
        metrics=manifest.metrics,
        decision=verdict.decision,
        reason=verdict.reason,
        scores=verdict.scores,
        inputs=references(data, model, window_of(config), config.drift.days),
    )
    write_candidate(folder, trained.fitted, trained.content, record)
    prune_rejected(folder, model.signal, site, config.promotion.rejected_kept)
    return TrainingResult(
        site=site,
        signal=model.signal,
        trained=True,
        decision=verdict.decision,
        decision_reason=verdict.reason,
        masked=data.masked or {},
        metrics=manifest.metrics,
        trained_forecasts=manifest.trained_forecasts,
        model_bytes=len(trained.content),
        latency_ms=trained.latency_ms,
        notes=list(trained.notes),
        train_s=time.monotonic() - begin,
        inputs_sha256=inputs_sha256,
    )


def rows_of(config: TrainerConfig, data: SiteData) -> list[int]:
    """Rows of the steps at which the training forecasts of this site are issued.

    Raises:
        TooLittleDataError: If they are fewer than the configuration asks for.
    """
    window, training = window_of(config), config.training
    every = issued_every(training, len(data.steps.values))
    rows = training_rows(data.steps, window, every=every, share_min=training.history_share_min)
    if len(rows) < training.forecasts_min:
        days = len(data.steps.values) * window.step_s / DAY_S
        text = f"{len(rows)} forecasts to train on in {days:.1f} days, {training.forecasts_min} are needed"
        masked = data.masked or {}
        dead = next((name for name in masked if name.endswith(".dead")), "")
        if dead and not np.isfinite(data.steps.values[:, 0]).any():
            raise TooLittleDataError(f"{dead.removesuffix('.dead')} never changes: a dead channel")
        out = ", ".join(f"{count} {name}" for name, count in masked.items())
        out = f"; values that cannot be true were taken out: {out}" if out else ""
        raise TooLittleDataError(f"too little data: {text}{out}")
    return rows


def issued_every(training: TrainingConfig, steps: int) -> int:
    """After how many steps the next training forecast is issued, so that no more than `rows_max` target values come of it.

    What is more than the configuration says has no common factor with a day: it goes through all times of day.
    """
    most = max(training.forecasts_min, training.rows_max // training.horizon_steps)
    if steps <= most * training.issue_every_steps:
        return training.issue_every_steps
    return next(every for every in count(-(-steps // most)) if gcd(every, DAY_S // training.step_s) == 1)


def fit_site(
    config: TrainerConfig, model: ModelConfig, data: SiteData, rows: Sequence[int], *, now: datetime
) -> TrainedModel:
    """Fit, calibrate, export and prove one model; reads and writes nothing.

    Args:
        config: How to train.
        model: What to forecast, from what.
        data: Steps and series of the site. Only what lies within the windows and horizons of `rows` is used.
        rows: Rows of the steps at which the training forecasts are issued, in order.
        now: Goes into the manifest, and decides how far its clock tables reach.

    Raises:
        TooLittleDataError: If nothing is left before the held-out days, or the target never changes.
        ExportError: If no file, or a wrong one, comes out.
    """
    window = window_of(config)
    made = examples(data.steps, (data.series[name] for name in model.series), window, rows)
    made.targets[:, : config.training.first_lead_steps] = np.nan
    early, late = held_out(made, window, config.training)
    if not early.any():
        raise TooLittleDataError("too little data: nothing is left before the held-out days")
    spread = _spread(made)
    if not spread > 0:
        raise TooLittleDataError(f"{model.signal} never changes")
    spec = feature_spec(config, model, made, time_zone=data.time_zone, now=now)
    session = open_session(feature_model(spec))
    features = run_in_blocks(session, made.inputs, FEATURES)  # the graph is the only feature code there is
    if not np.isfinite(features).all():
        raise TooLittleDataError(f"values too large to compute with: {_largest(spec, made)}; name limits in [quality]")
    fitted = fit_model(Design(features, columns_of(spec), made, window), config, model)
    file = forecast_model(spec, fitted, features)
    newest = made.take(np.flatnonzero(late)[-_PROBES:]).inputs
    probes = damaged(newest, spec)
    special = on_thresholds(file, newest, spec)
    asked = {name: np.concatenate([value, special[name]]) for name, value in probes.items()}
    held = np.flatnonzero(late)[:: -(-int(late.sum()) // _HELD_OUT_PROVED)]
    seen = made.take(held).inputs
    whole_set = {name: np.concatenate([seen[name], value]) for name, value in asked.items()}
    prove(file, fitted, whole_set, np.concatenate([features[held], run(session, asked, FEATURES)]), TOLERANCE * spread)
    hashed = sha256()
    for array in (*made.inputs.values(), made.targets):
        hashed.update(array.tobytes())
    at = made.issued_at_s
    manifest = ModelManifest(
        format=FORMAT,
        site=data.site,
        signal=model.signal,
        release=_UNRELEASED,
        created_at_ms=round(1000 * now.timestamp()),
        signals={name: unit_of(name) for name in spec.signals},
        series={name: data.series[name].unit or unit_of(name) for name in spec.series},
        step_s=window.step_s,
        history_steps=window.history_steps,
        horizon_steps=window.horizon_steps,
        quantiles=list(config.training.quantiles),
        time_zone=spec.time_zone,
        holidays=list(spec.holidays),
        years=spec.years,
        history_share_min=config.training.history_share_min,
        tolerance=TOLERANCE * spread,
        trained_from_ms=1000 * (int(at[0]) - window.history_steps * window.step_s),
        trained_to_ms=1000 * (int(at[-1]) + window.horizon_steps * window.step_s),
        trained_forecasts=len(at),
        trained_sha256=hashed.hexdigest(),
        metrics=fitted.metrics,
        made_with={name: version(name) for name in _TOOLS},
    )
    whole = min(_PROBES, int(late.sum()))
    golden = {name: value[[0, whole, -1]] for name, value in probes.items()}  # as it is; without history; a special day
    seal(file, manifest, golden)
    content = bytes(file.SerializeToString())
    check_file(content)
    latency_ms = single_latency_ms(open_session(content), newest)
    refuse_too_large(len(content), latency_ms, config.training)
    notes = (
        *missing_inputs(spec, made),
        *(f"{name}: {count} values left out" for name, count in (data.masked or {}).items()),
    )
    return TrainedModel(content=content, fitted=fitted, manifest=manifest, spec=spec, latency_ms=latency_ms, notes=notes)


def refuse_too_large(model_bytes: int, latency_ms: float, training: TrainingConfig) -> None:
    """Let pass what a gateway can hold and compute.

    Raises:
        ExportError: If the file is larger, or a forecast takes longer, than the configuration allows.
    """
    cure = "take fewer or smaller trees ([estimators]), fewer members, or raise the limit"
    if model_bytes > training.model_bytes_max:
        text = f"the model has {model_bytes} bytes, training.model_bytes_max is {training.model_bytes_max}: {cure}"
        raise ExportError(text)
    if latency_ms > training.latency_ms_max:
        allowed = f"training.latency_ms_max is {training.latency_ms_max:g}"
        raise ExportError(f"a forecast takes {latency_ms:.1f} ms on one thread, {allowed}: {cure}")


def missing_inputs(spec: FeatureSpec, data: Examples) -> list[str]:
    """Of which signals and series nothing, or less than half, was there to train on: the model then goes without them."""
    inputs = ((spec.signals, data.inputs["history"]), (spec.series, data.inputs["known_future"]))
    shares = {
        f"{name} ({kind})": float(np.isfinite(values[:, :, i]).mean())
        for kind, (names, values) in zip(("history", "series"), inputs, strict=True)
        for i, name in enumerate(names)
    }
    return [
        f"trained without {name}: there is no value of it" if share == 0 else f"only {share:.0%} of {name} is there"
        for name, share in shares.items()
        if share < _SHARE_NOTED
    ]


def window_of(config: TrainerConfig) -> Window:
    """Shape of the models of a configuration."""
    training = config.training
    return Window(training.step_s, training.history_steps, training.horizon_steps)


def feature_spec(config: TrainerConfig, model: ModelConfig, data: Examples, *, time_zone: str, now: datetime) -> FeatureSpec:
    """What the feature graph of a model is made from; typical values are the medians of what it is trained on."""
    window = window_of(config)
    first_s = int(data.issued_at_s[0]) - window.history_steps * window.step_s
    last_s = int(data.issued_at_s[-1]) + window.horizon_steps * window.step_s
    first, last = (datetime.fromtimestamp(at, UTC).year for at in (first_s, last_s))
    return FeatureSpec(
        signals=tuple(model.history),
        series=tuple(model.series),
        typical_signals=_medians(data.inputs["history"]),
        typical_series=_medians(data.inputs["known_future"]),
        range_series=_ranges(data.inputs["known_future"]),
        time_zone=time_zone,
        holidays=tuple(sorted(config.holidays)),
        years=(first, max(last, now.year) + YEARS_AHEAD),
        window=window,
        lag_days=config.training.lag_days,
        groups=config.training.features,
    )


def unit_of(name: str) -> str:
    """The unit that the name of a signal ends in."""
    return next((unit for suffix, unit in _UNITS if name.endswith(suffix)), "")


def _verdict(  # noqa: PLR0913  what was trained from what, and when
    config: TrainerConfig,
    model: ModelConfig,
    data: SiteData,
    trained: TrainedModel,
    *,
    now: datetime,
    until: datetime | None,
) -> Verdict:
    """What the gate says, by the forecasts of the held-out days that fitting has made anyway."""
    if trained.fitted.held_out is None:
        return Verdict(decision=Decision.UNDECIDED, reason="no forecasts of held-out days to judge by")

    def again(at_s: int) -> bytes:
        last = (at_s - data.steps.start_s) // config.training.step_s - config.training.horizon_steps
        rows = [row for row in rows_of(config, data) if row <= last]
        if len(rows) < config.training.forecasts_min:
            raise TooLittleDataError("too little data before the newest days")
        return fit_site(config, model, data, rows, now=now).content

    return judge(config, model, data, trained.fitted.held_out, until=until, again=again)


def _skipped(site: str, model: ModelConfig, reason: str, inputs_sha256: str = "") -> TrainingResult:
    return TrainingResult(site=site, signal=model.signal, trained=False, reason=reason, inputs_sha256=inputs_sha256)


def _spread(data: Examples) -> float:
    low, high = np.nanquantile(data.targets, [0.01, 0.99])
    return float(high - low)


def _largest(spec: FeatureSpec, data: Examples) -> str:
    """The input with the largest value, and that value."""
    inputs = ((spec.signals, data.inputs["history"]), (spec.series, data.inputs["known_future"]))
    sizes = {
        name: float(np.nanmax(np.abs(values[:, :, i]), initial=0))
        for names, values in inputs
        for i, name in enumerate(names)
    }
    name = max(sizes, key=lambda one: sizes[one])
    return f"{name} {sizes[name]:.3g}"


def _ranges(values: Any) -> tuple[tuple[float, float], ...]:  # noqa: ANN401  an array of floats
    """Low and high of the last axis, each beyond what was seen by the whole range: a sender's nonsense stays out."""
    found = []
    for column in np.moveaxis(values, 2, 0):
        seen = column[np.isfinite(column)]
        low, high = (float(seen.min()), float(seen.max())) if len(seen) else (0.0, 0.0)
        found.append((max(2 * low - high, -_FLOAT32_MAX), min(2 * high - low, _FLOAT32_MAX)))
    return tuple(found)


def _medians(values: Any) -> tuple[float, ...]:  # noqa: ANN401  an array of floats
    """Medians of the last axis; 0 for a column that holds nothing."""
    columns = (column[np.isfinite(column)] for column in np.moveaxis(values, 2, 0))
    return tuple(float(np.median(column)) if len(column) else 0.0 for column in columns)


def persistence_beaten(results: Sequence[TrainingResult]) -> list[TrainingResult]:
    """Models that were worse on the held-out days than yesterday's or last week's values."""
    naive = ("mae_yesterday", "mae_last_week")
    return [r for r in results if r.trained and any(r.metrics["mae"] > r.metrics[n] for n in naive if n in r.metrics)]
