"""The recipe of a model in five steps. Each takes the results of earlier ones; none reads or writes a file.

| step | function | from | to |
|---|---|---|---|
| examples | `training_examples` | steps and series of the site | `TrainingExamples`: inputs, targets, held-out days |
| design | `training_design` | examples | `TrainingDesign`: features, computed by the graph that goes into the file |
| fitted | `models.fit.fit_model` | design | `FittedModel`: chosen, calibrated, scored, fitted on all |
| proved file | `proved_file` | fitted model | `ProvedFile`: ONNX that gives the values of scikit-learn |
| sealed file | `sealed_file` | proved file | `SealedFile`: with manifest and golden vectors, checked as an agent checks it |

`fit_and_prove` goes through the first four: enough for a score. `fit_site` goes through all five, for a candidate.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from hashlib import sha256
from importlib.metadata import version
from itertools import count
from math import gcd
from typing import Final, NamedTuple

import numpy as np
import onnx
import onnxruntime as ort
from msgspec import Struct

from ringmain_model.session import open_session, run, run_in_blocks, single_latency_ms
from ringmain_protocol.manifest import FORMAT, ModelManifest
from ringmain_trainer.arrays import Bools
from ringmain_trainer.calendar import DAY_S
from ringmain_trainer.config.recipe import Recipe
from ringmain_trainer.config.trainer import TrainingConfig
from ringmain_trainer.errors import ExportError, TooLittleDataError
from ringmain_trainer.export.onnx_file import (
    PROBES,
    TOLERANCE,
    check_file,
    damaged,
    forecast_model,
    on_thresholds,
    prove,
    seal,
)
from ringmain_trainer.features.design_matrix import Design, held_out
from ringmain_trainer.features.examples import Examples, Inputs, examples, training_rows, window_of
from ringmain_trainer.features.feature_graph import FEATURES, FeatureSpec, columns_of, feature_model
from ringmain_trainer.features.feature_spec import feature_spec
from ringmain_trainer.features.site_data import SiteData
from ringmain_trainer.models.fit import FittedModel, fit_model
from ringmain_trainer.quantities import unit_of

_UNRELEASED: Final = 1
"""A manifest needs a release number; `publish` gives the real one."""
_HELD_OUT_PROVED: Final = 200
_SHARE_NOTED: Final = 0.5
TOOLS: Final = ("scikit-learn", "skl2onnx", "onnx", "onnxruntime", "numpy", "tzdata")


class TrainingExamples(NamedTuple):
    """The examples of a site, the held-out ones among them, and P99 - P1 of the targets."""

    data: Examples
    late: Bools
    spread: float

    @property
    def tolerance(self) -> float:
        """Largest allowed difference between file and scikit-learn, in the unit of the target."""
        return TOLERANCE * self.spread


class TrainingDesign(NamedTuple):
    """The feature graph, open, and the design matrix that it computed."""

    spec: FeatureSpec
    session: ort.InferenceSession
    design: Design


class ProvedFile(NamedTuple):
    """A model file that gives the values of the fitted model; `probes` are the newest held-out inputs and damaged ones."""

    model: onnx.ModelProto
    newest: Inputs
    probes: Inputs

    @property
    def content(self) -> bytes:
        """The bytes of the file, without manifest."""
        return bytes(self.model.SerializeToString())


class SealedFile(NamedTuple):
    """A model file with manifest and golden vectors. The latency is measured and not part of the file."""

    content: bytes
    manifest: ModelManifest
    latency_ms: float


class TrainedModel(Struct, frozen=True, kw_only=True):
    """A sealed model file and its origin; `notes` name the inputs that were missing in the training."""

    content: bytes
    fitted: FittedModel
    manifest: ModelManifest
    spec: FeatureSpec
    latency_ms: float = 0.0
    notes: tuple[str, ...] = ()


def fit_site(recipe: Recipe, data: SiteData, rows: Sequence[int], *, now: datetime) -> TrainedModel:
    """Fit, calibrate, prove and seal one model.

    Args:
        recipe: How to make it.
        data: Steps and series of the site. Only the windows and horizons of `rows` are used.
        rows: Rows of the steps at which the training forecasts are issued, in order.
        now: Goes into the manifest, and decides how far its clock tables reach.

    Raises:
        TooLittleDataError: If nothing is left before the held-out days, or the target never changes.
        ExportError: If no file, or a wrong one, comes out, or one that is too large or too slow for a gateway.
    """
    samples = training_examples(recipe, data, rows)
    design = training_design(recipe, samples, time_zone=data.time_zone, now=now)
    fitted = fit_model(design.design, recipe)
    proved = proved_file(samples, design, fitted)
    manifest = _manifest(recipe, data, samples, design.spec, fitted.metrics, now=now)
    sealed = sealed_file(proved, manifest, recipe.training)
    notes = (
        *missing_inputs(design.spec, samples.data),
        *(f"{name}: {count} values left out" for name, count in (data.masked or {}).items()),
    )
    return TrainedModel(fitted=fitted, spec=design.spec, notes=notes, **sealed._asdict())


def fit_and_prove(recipe: Recipe, data: SiteData, rows: Sequence[int], *, now: datetime) -> ProvedFile:
    """The first four steps: a model file to forecast with, of which nothing is kept.

    Raises:
        TooLittleDataError: If nothing is left before the held-out days, or the target never changes.
        ExportError: If no file, or a wrong one, comes out.
    """
    samples = training_examples(recipe, data, rows)
    design = training_design(recipe, samples, time_zone=data.time_zone, now=now)
    return proved_file(samples, design, fit_model(design.design, recipe))


def training_examples(recipe: Recipe, data: SiteData, rows: Sequence[int]) -> TrainingExamples:
    """Step 1: the examples issued at these rows, without the leads that nothing is trained on.

    Raises:
        TooLittleDataError: If no example lies before the held-out days, or the target never changes.
    """
    window, training = window_of(recipe.training), recipe.training
    samples = examples(data.steps, (data.series[name] for name in recipe.model.series), window, rows)
    samples.targets[:, : training.first_lead_steps] = np.nan
    early, late = held_out(samples, window, training)
    if not early.any():
        raise TooLittleDataError("too little data: nothing is left before the held-out days")
    low, high = np.nanquantile(samples.targets, [0.01, 0.99])
    if not high > low:
        raise TooLittleDataError(f"{recipe.model.signal} never changes")
    return TrainingExamples(samples, late, float(high - low))


def training_design(recipe: Recipe, samples: TrainingExamples, *, time_zone: str, now: datetime) -> TrainingDesign:
    """Step 2: the features of the examples. The graph that computes them is the only feature code there is.

    Raises:
        TooLittleDataError: If a feature is not finite: an input is too large to compute with.
    """
    data = samples.data
    spec = feature_spec(recipe, data, time_zone=time_zone, now=now)
    session = open_session(feature_model(spec))
    features = run_in_blocks(session, data.inputs, FEATURES)
    if not np.isfinite(features).all():
        raise TooLittleDataError(f"values too large to compute with: {_largest(spec, data)}; name limits in [quality]")
    return TrainingDesign(spec, session, Design(features, columns_of(spec), data, spec.window))


def proved_file(samples: TrainingExamples, design: TrainingDesign, fitted: FittedModel) -> ProvedFile:
    """Step 4: the model as ONNX, compared with scikit-learn on held-out, damaged and threshold inputs.

    Raises:
        ExportError: If the estimator does not convert, or the file gives other values.
    """
    spec, features, late = design.spec, design.design.features, np.flatnonzero(samples.late)
    file = forecast_model(spec, fitted, features)
    newest = samples.data.take(late[-PROBES:]).inputs
    probes, special = damaged(newest, spec), on_thresholds(file, newest, spec)
    made_up = {name: np.concatenate([value, special[name]]) for name, value in probes.items()}
    held = late[:: -(-len(late) // _HELD_OUT_PROVED)]
    seen = samples.data.take(held).inputs
    inputs = {name: np.concatenate([seen[name], value]) for name, value in made_up.items()}
    expected = np.concatenate([features[held], run(design.session, made_up, FEATURES)])
    prove(file, fitted, inputs, expected, samples.tolerance)
    return ProvedFile(file, newest, probes)


def sealed_file(proved: ProvedFile, manifest: ModelManifest, training: TrainingConfig) -> SealedFile:
    """Step 5: the file with its manifest and golden vectors, checked once more as a whole.

    Raises:
        ExportError: If it does not reproduce its golden vectors, or is too large or too slow for a gateway.
    """
    whole = len(proved.newest["issued_at_s"])
    golden = {name: value[[0, whole, -1]] for name, value in proved.probes.items()}  # whole; no history; a special day
    seal(proved.model, manifest, golden)
    content = proved.content
    check_file(content)
    latency_ms = single_latency_ms(open_session(content), proved.newest)
    refuse_too_large(len(content), latency_ms, training)
    return SealedFile(content, manifest, latency_ms)


def _manifest(  # noqa: PLR0913  everything that a file says of itself
    recipe: Recipe,
    data: SiteData,
    samples: TrainingExamples,
    spec: FeatureSpec,
    metrics: dict[str, float],
    *,
    now: datetime,
) -> ModelManifest:
    window, at = spec.window, samples.data.issued_at_s
    hashed = sha256()
    for array in (*samples.data.inputs.values(), samples.data.targets):
        hashed.update(array.tobytes())
    return ModelManifest(
        format=FORMAT,
        site=data.site,
        signal=recipe.model.signal,
        release=_UNRELEASED,
        created_at_ms=round(1000 * now.timestamp()),
        signals={name: unit_of(name) for name in spec.signals},
        series={name: data.series[name].unit or unit_of(name) for name in spec.series},
        step_s=window.step_s,
        history_steps=window.history_steps,
        horizon_steps=window.horizon_steps,
        quantiles=list(recipe.training.quantiles),
        time_zone=spec.time_zone,
        holidays=list(spec.holidays),
        years=spec.years,
        history_share_min=recipe.training.history_share_min,
        tolerance=samples.tolerance,
        trained_from_ms=1000 * (int(at[0]) - window.history_steps * window.step_s),
        trained_to_ms=1000 * (int(at[-1]) + window.horizon_steps * window.step_s),
        trained_forecasts=len(at),
        trained_sha256=hashed.hexdigest(),
        metrics=metrics,
        made_with={name: version(name) for name in TOOLS},
    )


def refuse_too_large(model_bytes: int, latency_ms: float, training: TrainingConfig) -> None:
    """Let pass a model that a gateway can hold and compute.

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


def rows_of(training: TrainingConfig, data: SiteData) -> list[int]:
    """Rows of the steps at which the training forecasts of a site are issued.

    Raises:
        TooLittleDataError: If there are fewer than `training.forecasts_min`.
    """
    window = window_of(training)
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
    """Steps from one training forecast to the next: those of the configuration, or more to stay within `rows_max` targets.

    If it is more, it has no common factor with a day: the forecasts go through all times of day.
    """
    most = max(training.forecasts_min, training.rows_max // training.horizon_steps)
    if steps <= most * training.issue_every_steps:
        return training.issue_every_steps
    return next(every for every in count(-(-steps // most)) if gcd(every, DAY_S // training.step_s) == 1)


def missing_inputs(spec: FeatureSpec, data: Examples) -> list[str]:
    """Notes on signals and series of which the training had no value, or less than half."""
    shares = {f"{name} ({kind})": float(np.isfinite(values).mean()) for kind, name, values in _columns(spec, data)}
    return [
        f"trained without {name}: there is no value of it" if share == 0 else f"only {share:.0%} of {name} is there"
        for name, share in shares.items()
        if share < _SHARE_NOTED
    ]


def _largest(spec: FeatureSpec, data: Examples) -> str:
    """The input with the largest value, and that value."""
    sizes = {name: float(np.nanmax(np.abs(values), initial=0)) for _, name, values in _columns(spec, data)}
    name = max(sizes, key=lambda one: sizes[one])
    return f"{name} {sizes[name]:.3g}"


def _columns(spec: FeatureSpec, data: Examples) -> Iterator[tuple[str, str, np.ndarray]]:
    """Kind, name and values of each input."""
    for kind, names, values in (
        ("history", spec.signals, data.inputs["history"]),
        ("series", spec.series, data.inputs["known_future"]),
    ):
        for i, name in enumerate(names):
            yield kind, name, values[:, :, i]
