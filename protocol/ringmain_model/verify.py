"""The promises of a model file; the same check before it is published and before it runs."""

import base64
import binascii
import io
import zipfile
import zlib
from pathlib import Path
from tokenize import TokenError
from typing import Any, Final, NamedTuple

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from ringmain_model.content import check_content
from ringmain_model.errors import ModelRejectedError
from ringmain_model.session import INPUTS, QUANTILES, RUNTIME_ERRORS, Floats, first_line, forecast, open_session
from ringmain_protocol.errors import MessageError
from ringmain_protocol.manifest import GOLDEN_KEY, MANIFEST_KEY, MAX_MODEL_BYTES, ModelManifest, decode_document

MAX_GOLDEN_BYTES: Final = 20_000_000
TOLERANCE_SHARE_MAX: Final = 1e-3
"""Largest tolerance, as a share of the range of the target in the golden vectors; the trainer's is some 2e-5."""

_ARCHIVE_ERRORS: Final = (
    binascii.Error,
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TokenError,
    TypeError,
    ValueError,
)
"""The errors of damaged base64, of a damaged archive, and of arrays with a damaged header."""


class Model(NamedTuple):
    """An open model file that has passed `check_model`."""

    manifest: ModelManifest
    session: ort.InferenceSession

    def quantiles(self, history: Floats, known_future: Floats, issued_at_s: NDArray[np.int64]) -> Floats:
        """Quantiles, shape `(batch, horizon_steps, quantiles)`.

        Raises:
            RUNTIME_ERRORS: If ONNX Runtime refuses.
            ModelRejectedError: If they have another shape or type: a file can behave well in its golden vectors only.
        """
        quantiles = forecast(self.session, {"history": history, "known_future": known_future, "issued_at_s": issued_at_s})
        shape = (len(issued_at_s), self.manifest.horizon_steps, len(self.manifest.quantiles))
        if quantiles.shape != shape or quantiles.dtype != np.float32:
            raise ModelRejectedError(
                f"quantiles have the shape {quantiles.shape} and type {quantiles.dtype}, expected are {shape} and float32"
            )
        return quantiles


def read_model(path: Path) -> bytes:
    """The bytes of a model file, for `check_model`; a file that is too large is not read.

    Raises:
        ModelRejectedError: If it cannot be read, or is too large.
    """
    try:
        _require_size(path.stat().st_size)
        return path.read_bytes()
    except OSError as error:
        raise ModelRejectedError(f"model cannot be read: {error.strerror}") from error


def check_model(content: bytes, *, site: str | None = None, signal: str | None = None) -> Model:
    """The open model, if the file keeps every promise.

    - It has at most `MAX_MODEL_BYTES`, and nothing in it that our export does not write (`content`).
    - ONNX Runtime can open it.
    - It has a valid manifest, for this site and signal if they are given.
    - Its inputs have the types and shapes of the manifest.
    - Its golden vectors are the three inputs and the output, not empty, in the shapes of the manifest.
    - The tolerance of the manifest is at most `TOLERANCE_SHARE_MAX` of the range of the target in them.
    - It reproduces them within this tolerance, and its quantiles do not fall.

    Raises:
        ModelRejectedError: With the broken promise; do not publish or run the file.
    """
    _require_size(len(content))
    check_content(content)
    try:
        session = open_session(content)
        texts = session.get_modelmeta().custom_metadata_map
    except RUNTIME_ERRORS as error:
        raise ModelRejectedError(f"not a model that ONNX Runtime can open: {first_line(error)}") from error
    try:
        manifest = decode_document(texts.get(MANIFEST_KEY, ""), ModelManifest)
    except MessageError as error:
        raise ModelRejectedError(f"no usable manifest: {error}") from error
    if site is not None and manifest.site != site:
        raise ModelRejectedError(f"model is for site {manifest.site}, expected is site {site}")
    if signal is not None and manifest.signal != signal:
        raise ModelRejectedError(f"model is for signal {manifest.signal}, expected is signal {signal}")
    _require_inputs(session, manifest)
    model = Model(manifest, session)
    _require_golden(model, _golden(texts.get(GOLDEN_KEY, "")))
    return model


def _require_size(size: int) -> None:
    if size > MAX_MODEL_BYTES:
        raise ModelRejectedError(f"model of {size} bytes exceeds the limit of {MAX_MODEL_BYTES} bytes")


def _require_inputs(session: ort.InferenceSession, manifest: ModelManifest) -> None:
    expected = {
        "history": ("tensor(float)", [manifest.history_steps, len(manifest.signals)]),
        "known_future": ("tensor(float)", [manifest.horizon_steps, len(manifest.series)]),
        "issued_at_s": ("tensor(int64)", []),
    }
    actual = {i.name: (i.type, list(i.shape[1:])) for i in session.get_inputs()}
    if actual != expected:
        raise ModelRejectedError(f"inputs are {actual}, expected by the manifest are {expected}")
    if QUANTILES not in [o.name for o in session.get_outputs()]:
        raise ModelRejectedError(f"output {QUANTILES} is missing")


def _golden(text: str) -> dict[str, NDArray[Any]]:
    """The golden vectors by name."""
    try:
        archive = io.BytesIO(base64.b64decode(text, validate=True))
        with zipfile.ZipFile(archive) as members:
            size = sum(member.file_size for member in members.infolist())
        if size > MAX_GOLDEN_BYTES:
            raise ModelRejectedError(f"golden vectors unpack to {size} bytes, the limit is {MAX_GOLDEN_BYTES} bytes")
        with np.load(archive, allow_pickle=False) as arrays:
            golden: dict[str, NDArray[Any]] = dict(arrays)
    except _ARCHIVE_ERRORS as error:
        raise ModelRejectedError(f"no usable golden vectors: {error}") from error
    if golden.keys() != {*INPUTS, QUANTILES}:
        raise ModelRejectedError(
            f"no usable golden vectors: they are {sorted(golden)}, expected {sorted((*INPUTS, QUANTILES))}"
        )
    return golden


def _require_golden(model: Model, golden: dict[str, NDArray[Any]]) -> None:
    manifest, expected = model.manifest, golden[QUANTILES]
    if expected.dtype.kind != "f":
        raise ModelRejectedError(f"golden quantiles are of type {expected.dtype}, expected is float32")
    try:
        actual = model.quantiles(*(golden[name] for name in INPUTS))
    except RUNTIME_ERRORS as error:
        raise ModelRejectedError(f"golden vectors do not run: {first_line(error)}") from error
    if len(actual) == 0 or expected.shape != actual.shape:
        raise ModelRejectedError(f"quantiles have the shape {actual.shape}, golden {expected.shape}")
    with np.errstate(invalid="ignore"):  # infinity minus infinity is NaN, which fails the check
        error_max = float(np.abs(actual.astype(np.float64) - expected.astype(np.float64)).max())
    if not error_max <= manifest.tolerance:
        raise ModelRejectedError(f"golden vectors are off by {error_max:.2g}, the tolerance is {manifest.tolerance:.2g}")
    range_ = _target_range(golden)
    if manifest.tolerance > TOLERANCE_SHARE_MAX * range_:
        raise ModelRejectedError(
            f"the tolerance of {manifest.tolerance:.2g} is more than {TOLERANCE_SHARE_MAX:g} of the range of the target,"
            f" {range_:.3g}: the golden vectors prove nothing"
        )
    if not (np.diff(actual, axis=2) >= 0).all():
        raise ModelRejectedError("quantiles of the golden vectors do not rise")


def _target_range(golden: dict[str, NDArray[Any]]) -> float:
    """Range of the target in the golden vectors: of its quantiles, or of its history if that is larger."""
    ranges = [0.0]
    for values in (golden[QUANTILES], golden["history"][..., 0]):
        finite = values[np.isfinite(values)].astype(np.float64)
        if len(finite):
            ranges.append(float(finite.max() - finite.min()))
    return max(ranges)
