"""Quantiles of the load and of each PV plant: by the site's model file, or by seasonal persistence. Planner process only.

No feature code: a model takes step values as they are. What a model file must prove before it runs is in `check_model`.
"""

import base64
import binascii
import io
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as native

from ringmain_agent.errors import ForecastError, ModelRejectedError
from ringmain_agent.planning.persistence import seasonal_persistence
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import ForecastResult, Snapshot
from ringmain_protocol.errors import MessageError
from ringmain_protocol.manifest import GOLDEN_KEY, MANIFEST_KEY, MAX_MODEL_BYTES, ModelManifest, decode_document

INPUTS: Final = ("history", "known_future", "issued_at_s")
OUTPUT: Final = "quantiles"
FLOAT32_MAX: Final = 3e38
MAX_GOLDEN_BYTES: Final = 20_000_000
PERSISTENCE_QUANTILES: Final = (0.1, 0.5, 0.9)

# ONNX Runtime's own errors have no common root.
RUNTIME_ERRORS: Final = (
    native.EPFail,
    native.EngineError,
    native.Fail,
    native.InvalidArgument,
    native.InvalidGraph,
    native.InvalidProtobuf,
    native.NoModel,
    native.NotImplemented,
    native.RuntimeException,
    RuntimeError,
    ValueError,
)

Array = npt.NDArray[np.float32]


class Model:
    """An open model file that has passed `check_model`."""

    def __init__(self, session: ort.InferenceSession, manifest: ModelManifest) -> None:
        self.manifest = manifest
        self._session = session

    def quantiles(self, history: Array, known_future: Array, issued_at_s: npt.NDArray[np.int64]) -> Array:
        """Output of the model, shape `(batch, horizon_steps, quantiles)`.

        Raises:
            ForecastError: If the runtime refuses.
        """
        return _run(self._session, {"history": history, "known_future": known_future, "issued_at_s": issued_at_s})


class Forecaster:
    """Forecasts for one site; keeps the model files open that it was last asked to use."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._open: dict[str, tuple[str, Model | ModelRejectedError]] = {}

    def forecast(self, snapshot: Snapshot, signal: str) -> ForecastResult:
        """Forecast by the active model of the signal.

        Raises:
            ForecastError: There is no model, or it may not be used for this snapshot; take persistence.
            ModelRejectedError: The file must not run; take persistence.
        """
        path = snapshot.models.get(signal)
        if path is None:
            raise ForecastError("no model yet")
        model = self._model(path, signal)
        manifest, site = model.manifest, self._site
        if manifest.step_s != snapshot.step_s or manifest.horizon_steps < site.horizon_steps:
            made_for = f"{manifest.horizon_steps} steps of {manifest.step_s} s"
            raise ForecastError(f"model is for {made_for}, needed are {site.horizon_steps} of {snapshot.step_s} s")
        _require_years(manifest, snapshot.issued_at_ms)
        history = np.column_stack([_history(snapshot, name, manifest.history_steps) for name in manifest.signals])
        share = float(np.isfinite(history[:, 0]).mean())
        if share < manifest.history_share_min:
            raise ForecastError(
                f"only {share:.2f} of the history is there, the model needs {manifest.history_share_min:.2f}"
            )
        known_future = np.full((manifest.horizon_steps, len(manifest.series)), np.nan, np.float32)
        for column, name in enumerate(manifest.series):
            values = np.array(snapshot.known_future.get(name, ()), np.float64)[: manifest.horizon_steps]
            known_future[: len(values), column] = np.where(np.abs(values) < FLOAT32_MAX, values, np.nan)
        issued_at_s = np.array([snapshot.issued_at_ms // 1000], np.int64)
        quantiles = model.quantiles(history[None], known_future[None], issued_at_s)[0, : site.horizon_steps]
        if not np.isfinite(quantiles).all() or (np.diff(quantiles, axis=1) < 0).any():
            raise ForecastError("the model gave quantiles that are not finite or do not rise")
        missing = [name for column, name in enumerate(manifest.series) if np.isnan(known_future[:, column]).all()]
        return ForecastResult(
            signal=signal,
            quantiles=manifest.quantiles,
            values=_possible(quantiles.astype(np.float64), signal, site).tolist(),
            release=manifest.release,
            reason=f"without {', '.join(missing)}" if missing else "",
        )

    def persistence(self, snapshot: Snapshot, signal: str, reason: str) -> ForecastResult:
        """Forecast by what happened at this time of day before; `reason` says why no model was used.

        Raises:
            ForecastError: If the history holds nothing at all.
        """
        history = np.frombuffer(snapshot.history.get(signal, b""), "<f4").astype(np.float64)
        values = seasonal_persistence(
            history, step_s=snapshot.step_s, horizon_steps=self._site.horizon_steps, quantiles=PERSISTENCE_QUANTILES
        )
        return ForecastResult(
            signal=signal,
            quantiles=list(PERSISTENCE_QUANTILES),
            values=_possible(values, signal, self._site).tolist(),
            release=0,
            reason=reason,
        )

    def _model(self, path: str, signal: str) -> Model:
        known = self._open.get(signal)
        if known is None or known[0] != path:
            try:
                known = path, _open_checked(Path(path), site=self._site.site, signal=signal)
            except ModelRejectedError as error:
                known = path, error
            self._open[signal] = known
        if isinstance(known[1], ModelRejectedError):
            raise known[1]
        return known[1]


def check_model(path: Path, *, site: str | None = None, signal: str | None = None) -> ModelManifest:
    """The manifest of a model file that may run: its inputs are as it says and its golden vectors come out again.

    Raises:
        ModelRejectedError: With what is wrong; the active model stays.
    """
    return _open_checked(path, site=site, signal=signal).manifest


def _open_checked(path: Path, *, site: str | None, signal: str | None) -> Model:
    try:
        size = path.stat().st_size
        if size > MAX_MODEL_BYTES:
            raise ModelRejectedError(f"model of {size} bytes exceeds {MAX_MODEL_BYTES}")
        content = path.read_bytes()
    except OSError as error:
        raise ModelRejectedError(f"model cannot be read: {error.strerror}") from error
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # sums in one order: part of the contract
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except RUNTIME_ERRORS as error:
        raise ModelRejectedError(f"not a model that ONNX Runtime can open: {_first_line(error)}") from error
    texts = session.get_modelmeta().custom_metadata_map
    try:
        manifest = decode_document(texts.get(MANIFEST_KEY, ""), ModelManifest)
    except MessageError as error:
        raise ModelRejectedError(f"no usable manifest: {error}") from error
    if site is not None and manifest.site != site:
        raise ModelRejectedError(f"model is for site {manifest.site}, this is {site}")
    if signal is not None and manifest.signal != signal:
        raise ModelRejectedError(f"model is for {manifest.signal}, wanted is {signal}")
    _require_inputs(session, manifest)
    model = Model(session, manifest)
    _require_golden(model, texts.get(GOLDEN_KEY, ""))
    return model


def _require_inputs(session: ort.InferenceSession, manifest: ModelManifest) -> None:
    expected = {
        "history": ("tensor(float)", [manifest.history_steps, len(manifest.signals)]),
        "known_future": ("tensor(float)", [manifest.horizon_steps, len(manifest.series)]),
        "issued_at_s": ("tensor(int64)", []),
    }
    found = {i.name: (i.type, list(i.shape[1:])) for i in session.get_inputs()}
    if found != expected:
        raise ModelRejectedError(f"inputs are {found}, the manifest says {expected}")
    if OUTPUT not in [o.name for o in session.get_outputs()]:
        raise ModelRejectedError(f"there is no output {OUTPUT}")


def _require_golden(model: Model, text: str) -> None:
    manifest = model.manifest
    try:
        archive = io.BytesIO(base64.b64decode(text, validate=True))
        with zipfile.ZipFile(archive) as members:
            if sum(member.file_size for member in members.infolist()) > MAX_GOLDEN_BYTES:
                raise ModelRejectedError(f"golden vectors unpack to more than {MAX_GOLDEN_BYTES} bytes")
        with np.load(archive, allow_pickle=False) as golden:
            history, known_future, issued_at_s, expected = (np.asarray(golden[name]) for name in (*INPUTS, OUTPUT))
            expected = expected.astype(np.float64)
    except (binascii.Error, zipfile.BadZipFile, ValueError, KeyError, OSError, EOFError) as error:
        raise ModelRejectedError(f"no usable golden vectors: {error}") from error
    try:
        actual = model.quantiles(history, known_future, issued_at_s)
    except ForecastError as error:
        raise ModelRejectedError(f"golden vectors do not run: {error}") from error
    shape = (len(issued_at_s), manifest.horizon_steps, len(manifest.quantiles))
    if len(issued_at_s) == 0 or actual.shape != shape or expected.shape != shape:
        raise ModelRejectedError(f"quantiles have the shape {actual.shape}, golden {expected.shape}, expected is {shape}")
    with np.errstate(invalid="ignore"):  # infinity less infinity is NaN, and fails
        error_max = float(np.abs(actual.astype(np.float64) - expected).max())
    if not error_max <= manifest.tolerance:
        raise ModelRejectedError(f"golden vectors are off by {error_max:.2g}, allowed are {manifest.tolerance:.2g}")
    if not (np.diff(actual, axis=2) >= 0).all():
        raise ModelRejectedError("quantiles of the golden vectors do not rise")


def _require_years(manifest: ModelManifest, issued_at_ms: int) -> None:
    last_ms = issued_at_ms + 1000 * manifest.step_s * manifest.horizon_steps
    first_year, last_year = (datetime.fromtimestamp(ms / 1000, UTC).year for ms in (issued_at_ms, last_ms - 1))
    if first_year < manifest.years[0] or last_year > manifest.years[1]:
        raise ForecastError(f"{first_year} is outside the model's years {manifest.years[0]} to {manifest.years[1]}")


def _run(session: ort.InferenceSession, inputs: dict[str, Any]) -> Array:
    try:
        (output,) = session.run([OUTPUT], inputs)
    except RUNTIME_ERRORS as error:
        raise ForecastError(f"ONNX Runtime: {_first_line(error)}") from error
    return np.asarray(output, np.float32)


def _history(snapshot: Snapshot, signal: str, steps: int) -> Array:
    """Newest `steps` values of a signal; NaN before its history begins."""
    values = np.frombuffer(snapshot.history.get(signal, b""), "<f4")[-steps:]
    return np.concatenate([np.full(steps - len(values), np.nan, np.float32), values])


def _possible(values: npt.NDArray[np.float64], signal: str, site: Site) -> npt.NDArray[np.float64]:
    """The quantiles inside what the equipment can do."""
    for plant in site.generators:
        if plant.power_signal == signal:
            return np.clip(values, -plant.rated_power_kw, 0.0)
    return values


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
