"""One ONNX file out of features and estimators, proved equal to the fitted model before it is kept."""

import base64
import io
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import msgspec
import numpy as np
import onnx
import skl2onnx
from numpy.typing import NDArray
from onnx import compose, helper

from ringmain_model.errors import ModelRejectedError
from ringmain_model.session import QUANTILES, open_session, run, run_singly
from ringmain_model.verify import check_model
from ringmain_protocol.manifest import GOLDEN_KEY, MANIFEST_KEY, ModelManifest, decode_document, encode_document
from ringmain_trainer.arrays import Floats
from ringmain_trainer.calendar import DAY_S
from ringmain_trainer.clock_tables import utc_offsets
from ringmain_trainer.errors import ExportError
from ringmain_trainer.export.skl2onnx_fix import install_converter_fix
from ringmain_trainer.export.supported_estimators import refuse_wrong_conversion
from ringmain_trainer.features.examples import Inputs
from ringmain_trainer.features.feature_graph import (
    FEATURES,
    OPSETS,
    FeatureSpec,
    GraphWriter,
    add_features,
    columns_of,
    value_info,
)
from ringmain_trainer.models.fit import FittedModel, predict

TOLERANCE: Final = 2e-5
"""Largest allowed difference between file and scikit-learn, as a share of P99 - P1 of the target."""

PROBES: Final = 6
"""Newest forecasts that a file is proved on, whole and damaged."""

_ABSURD: Final = (-1000.0, -10.0, 10.0, 1000.0, 1e30, np.inf)
"""Factors of readings that cannot be true, such as W sent for kW."""


def forecast_model(spec: FeatureSpec, model: FittedModel, features: Floats) -> onnx.ModelProto:
    """Features, estimator, quantiles in order and within the limits, in one graph.

    Args:
        spec: The feature graph.
        model: The fitted model.
        features: Features it was fitted on: NaN among them does not convert with every estimator.

    Raises:
        ExportError: If an estimator is not known to convert rightly.
    """
    for member in model.members:
        for pipeline in member.pipelines:
            refuse_wrong_conversion(pipeline, features.reshape(-1, features.shape[2]))
    g = GraphWriter()
    horizon, count = model.shifts.shape
    rows = g("Reshape", add_features(g, spec), g.ints(-1, features.shape[2]))
    parts = []
    for number, member in enumerate(model.members):
        outputs = [
            g("Reshape", _splice(g, pipeline, rows, features.shape[2], f"member_{number}_{i}_"), g.ints(-1, horizon, 1))
            for i, pipeline in enumerate(member.pipelines)
        ]
        curves = g("Add", outputs[0] if len(outputs) == 1 else g("Concat", *outputs, axis=2), g.const(member.offsets))
        parts.append(g("Mul", _in_order(g, curves, count), g.const(member.weight)))
    blended = parts[0] if len(parts) == 1 else g("Sum", *parts)
    ordered = _in_order(g, g("Add", blended, g.const(model.shifts)), count)
    limits = g.const(model.limits.low), g.const(model.limits.high)
    if model.rest is None:
        g("Clip", ordered, *limits, name=QUANTILES)
    else:
        column = g("Gather", FEATURES, g.ints(model.rest.column), axis=2)
        at_rest = g("LessOrEqual", column, g.const(model.rest.threshold))
        g("Where", at_rest, g.const(0.0), g("Clip", ordered, *limits), name=QUANTILES)
    file = g.model(spec, [value_info(QUANTILES, "batch", horizon, count)])
    onnx.checker.check_model(file, full_check=True)
    return file


def prove(model: onnx.ModelProto, fitted: FittedModel, inputs: Inputs, features: Floats, tolerance: float) -> None:
    """Prove that the file computes the same features and quantiles, in one call and one by one.

    Args:
        model: The file.
        fitted: The fitted model.
        inputs: Held-out inputs and damaged ones.
        features: Features of these inputs, by the feature graph.
        tolerance: Largest allowed difference, in the unit of the target.

    Raises:
        ExportError: If it computes others.
    """
    expected = predict(fitted, features)
    opened = onnx.load_from_string(model.SerializeToString())
    opened.graph.output.append(value_info(FEATURES))
    session, with_features = open_session(model), open_session(opened)
    for how, call in (("in one call", run), ("one by one", run_singly)):
        if not np.array_equal(call(with_features, inputs, FEATURES), features):
            raise ExportError(f"the features differ from those of the training, {how}")
        quantiles = call(session, inputs, QUANTILES)
        off = ~(np.abs(quantiles - expected) <= tolerance)
        if off.any():
            worst = float(np.abs(quantiles - expected).max())
            text = (
                f"{int(off.sum())} of {off.size} values are off {how}, the worst by {worst:.3g}; allowed are {tolerance:.3g}"
            )
            raise ExportError(text)
        if not np.isfinite(quantiles).all() or (np.diff(quantiles, axis=2) < 0).any():
            raise ExportError(f"quantiles that are not finite or do not rise, {how}")


def damaged(inputs: Inputs, spec: FeatureSpec) -> Inputs:
    """Inputs unchanged; with parts missing; all missing; constant; absurd values in them; issued before special days."""
    rng, history, future = np.random.default_rng(0), inputs["history"], inputs["known_future"]
    n, row = history.shape[1], np.arange(history.shape[1])[:, None]
    late, later = 12 * 3600 // spec.window.step_s, 7200 * np.arange(len(history))
    gaps = (rng.random(history.shape) < 0.05, row < n // 2, row >= n - late, row == n - 1)
    no_history: dict[str, Any] = {"history": history * np.nan}
    no_future: dict[str, Any] = {"known_future": future * np.nan}
    changes: list[dict[str, Any]] = [{}, no_history, no_future, no_history | no_future, {"history": history * 0 + 42}]
    changes += [{"history": np.where(gap, np.nan, history)} for gap in gaps]
    if spec.range_signals:
        changes += [{"history": _with_absurd(rng, history, share)} for share in (0.01, 1.0)]
    changes.append({"known_future": np.where(rng.random(future.shape) < 0.3, np.nan, future)})
    changes += [{"issued_at_s": at + later} for at in special_instants(spec)]
    changed = {name: np.concatenate([(inputs | change)[name] for change in changes]) for name in inputs}
    return {
        "history": _floats(changed["history"]),
        "known_future": _floats(changed["known_future"]),
        "issued_at_s": changed["issued_at_s"],
    }


def _with_absurd(rng: np.random.Generator, history: NDArray[Any], share: float) -> NDArray[Any]:
    """The history with this share of its readings made absurd."""
    with np.errstate(over="ignore", invalid="ignore"):
        absurd = history * rng.choice(np.array(_ABSURD, np.float32), history.shape)
    return np.where(rng.random(history.shape) < share, absurd, history)


def on_thresholds(model: onnx.ModelProto, inputs: Inputs, spec: FeatureSpec) -> Inputs:
    """Inputs with values on the thresholds of the trees, and with the float32 values next to them.

    Changed are the inputs that enter the features as they are: the series, and the history whole days before. Empty for a
    model without trees.
    """
    thresholds, columns = _thresholds(model), columns_of(spec)
    series = {columns.index(name): i for i, name in enumerate(spec.series)}
    # a column of lags, the signal, the days whose values are its lags for all leads of a day
    lags = [(columns.index(f"lag_{d}d.{s}"), i, d) for d in spec.lag_days for i, s in enumerate(spec.signals)]
    rng, day = np.random.default_rng(0), DAY_S // spec.window.step_s
    history, future = inputs["history"].copy(), inputs["known_future"].copy()
    if not thresholds:
        return {name: value[:0] for name, value in inputs.items()}
    for column, i in series.items():
        if column in thresholds:
            future[:, :, i] = _beside(rng, thresholds[column], future[:, :, i].shape)
    for column, i, days in lags:
        if column in thresholds:
            rows = slice(spec.window.history_steps - days * day, spec.window.history_steps - (days - 1) * day)
            history[:, rows, i] = _beside(rng, thresholds[column], history[:, rows, i].shape)
    return {"history": _floats(history), "known_future": _floats(future), "issued_at_s": inputs["issued_at_s"]}


def special_instants(spec: FeatureSpec) -> list[int]:
    """Noon before clock changes, holidays, the leap day and the turn of the last year, UTC seconds on whole steps."""
    first, last = spec.years
    changes, _ = utc_offsets(spec.time_zone, first, last)
    instants = [int(at) - DAY_S // 2 for at in changes[[len(changes) // 2, -1]] if at - DAY_S // 2 > changes[0]]
    days = [date.fromisoformat(text) for text in spec.holidays[:2]]
    days += [date(year, 2, 29) for year in range(first, last + 1) if year % 4 == 0 and year % 100][:1]
    days.append(date(last, 12, 31))
    instants += [
        int(datetime(d.year, d.month, d.day, 12, tzinfo=UTC).timestamp()) for d in (d - timedelta(days=1) for d in days)
    ]
    return [at - at % spec.window.step_s for at in instants if first <= datetime.fromtimestamp(at, UTC).year <= last]


def seal(model: onnx.ModelProto, manifest: ModelManifest, golden: Inputs) -> None:
    """Write manifest and golden vectors, made by this very model, into its metadata."""
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **golden, quantiles=run(open_session(model), golden, QUANTILES))
    texts = {MANIFEST_KEY: encode_document(manifest).decode(), GOLDEN_KEY: base64.b64encode(file.getvalue()).decode()}
    helper.set_model_props(model, texts)


def with_release(content: bytes, release: int) -> bytes:
    """The same model under a release number."""
    model = onnx.load_from_string(content)
    texts = {entry.key: entry.value for entry in model.metadata_props}
    manifest = msgspec.structs.replace(decode_document(texts[MANIFEST_KEY], ModelManifest), release=release)
    helper.set_model_props(model, texts | {MANIFEST_KEY: encode_document(manifest).decode()})
    return bytes(model.SerializeToString())


def check_file(content: bytes) -> ModelManifest:
    """The manifest of a model file that agents will accept.

    Raises:
        ExportError: If they would reject it; the text is theirs.
    """
    try:
        return check_model(content).manifest
    except ModelRejectedError as error:
        raise ExportError(str(error)) from error


def _thresholds(model: onnx.ModelProto) -> dict[int, Floats]:
    """Thresholds of all trees of a file, by column of the features."""
    by_column: dict[int, set[float]] = {}
    for node in model.graph.node:
        if node.op_type != "TreeEnsembleRegressor":
            continue
        lists = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        nodes = zip(lists["nodes_featureids"], lists["nodes_values"], lists["nodes_modes"], strict=True)
        for column, value, mode in nodes:
            if mode != b"LEAF":
                by_column.setdefault(column, set()).add(value)
    return {column: np.array(sorted(values), np.float32) for column, values in by_column.items()}


def _beside(rng: np.random.Generator, thresholds: Floats, shape: tuple[int, ...]) -> Floats:
    """Thresholds drawn at random: as they are, and the float32 values below and above."""
    drawn = rng.choice(thresholds, shape)
    towards = rng.choice(np.array([-np.inf, 0, np.inf], np.float32), shape)
    return np.where(towards == 0, drawn, np.nextafter(drawn, towards))


def _in_order(g: GraphWriter, curves: str, count: int) -> str:
    """Quantiles `[batch, horizon, count]` that do not fall: each is at least the one before."""
    if count == 1:
        return curves
    names = [f"{curves}_q{i}" for i in range(count)]
    g.split(curves, names)
    for i in range(1, count):
        names[i] = g("Max", names[i - 1], names[i])
    return g("Concat", *names, axis=2)


def _splice(g: GraphWriter, estimator: Any, rows: str, n_columns: int, prefix: str) -> str:  # noqa: ANN401  any estimator
    """Add the converted estimator; merge_models would want equal IR versions and repeat the opsets."""
    install_converter_fix()
    converted = skl2onnx.to_onnx(estimator, np.zeros((1, n_columns), np.float32), target_opset=OPSETS)
    part = compose.add_prefix(converted, prefix).graph
    for node in part.node:
        node.input[:] = [rows if name == part.input[0].name else name for name in node.input]
    g.nodes += part.node
    g.constants += part.initializer
    return str(part.output[0].name)


def _floats(values: NDArray[Any]) -> Floats:
    return values.astype(np.float32)
