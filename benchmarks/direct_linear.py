"""The raw-window linear model: the last weeks of one signal in, all leads out at once.

Each candidate is a Ridge on windows from which a level was taken off (the last value, or the mean of the last day or of
the whole window) and put back after; one for all channels, or one for each. Its penalty is chosen on the validation part.
The model is the mean of all candidates, which is again one matrix for each channel: an average loses little to the best
candidate, and a wrong choice costs more. Sums of products of all windows come from one pass over the series: nothing is
shuffled, drawn or repeated.

Pure: arrays in, arrays and a sealed file out.
"""

from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from importlib.metadata import version
from typing import Annotated, Final, NamedTuple

import numpy as np
import onnx
from msgspec import Meta, Struct

from ringmain_model.session import QUANTILES, open_session, run, run_singly
from ringmain_protocol.manifest import FORMAT, ModelManifest
from ringmain_trainer.arrays import Values
from ringmain_trainer.errors import ExportError, TooLittleDataError
from ringmain_trainer.export.onnx_file import TOLERANCE, check_file, seal
from ringmain_trainer.features.examples import Inputs, Window
from ringmain_trainer.features.feature_graph import FeatureSpec, GraphWriter, filled_gaps, gap_shifts, value_info

_YEARS: Final = (1970, 2200)
"""Nothing in the file depends on the calendar."""
_TOOLS: Final = ("onnx", "onnxruntime", "numpy")
_FILLED: Final = "filled"


class DirectLinearConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The candidates: every lookback with every level, for all channels and for each. `alphas` are per window."""

    lookback_steps: Annotated[tuple[Annotated[int, Meta(ge=2, le=20_000)], ...], Meta(min_length=1)] = (336, 504, 720, 1008)
    alphas: Annotated[tuple[Annotated[float, Meta(gt=0)], ...], Meta(min_length=1)] = (0.03, 0.1, 0.3, 1.0, 3.0)
    windows_per_lookback_step: Annotated[float, Meta(ge=0)] = 4.0


class Split(NamedTuple):
    """Rows: the first `train` are fitted on, those up to `validation` choose the penalties."""

    train: int
    validation: int


class Shape(NamedTuple):
    """Steps of the horizon, and steps of a day."""

    horizon_steps: int
    day_steps: int


class Channel(Struct, frozen=True, kw_only=True):
    """The series that a file is made for.

    `typical` fills gaps that nothing else can fill; the tolerance is a share of `spread`, P99 - P1.
    """

    site: str
    signal: str
    step_s: int
    typical: float
    spread: float
    trained_to_s: int
    trained_forecasts: int


class DirectLinear(Struct, frozen=True, kw_only=True):
    """Weights `(lookback, horizon)` of each channel. Their columns add up to 1: a constant is forecast as itself.

    `validation_mse` is that of the mean of so many `candidates`.
    """

    weights: tuple[Values, ...]
    validation_mse: float
    candidates: int


def fit_direct(values: Values, split: Split, shape: Shape, config: DirectLinearConfig) -> DirectLinear:
    """The mean of all candidates.

    Args:
        values: Series on a regular grid without gaps, `(n_steps, channels)`, scaled alike; rows from `split.validation` on
            are not looked at.
        split: Where the parts end.
        shape: Leads, and steps of a day.
        config: The candidates.

    Raises:
        TooLittleDataError: If no lookback leaves enough windows.
    """
    lookbacks = usable_lookbacks(split, shape.horizon_steps, config)
    return mean_of(values, split, [fit_lookback(values, split, shape, n, config.alphas) for n in lookbacks])


def usable_lookbacks(split: Split, horizon_steps: int, config: DirectLinearConfig) -> list[int]:
    """Lookbacks that leave `windows_per_lookback_step` windows to learn from; the shortest if there is any window.

    Raises:
        TooLittleDataError: If there are none.
    """
    if split.validation - split.train < horizon_steps:
        text = f"{split.validation - split.train} steps to validate on, {horizon_steps} are forecast"
        raise TooLittleDataError(f"too little data: {text}")
    left = {n: split.train - n - horizon_steps + 1 for n in sorted(config.lookback_steps)}
    usable = [n for n, windows in left.items() if windows >= config.windows_per_lookback_step * n]
    if not usable:
        shortest = min(left)
        if left[shortest] < 1:
            text = f"{split.train} steps to train on, a window and its horizon take {shortest + horizon_steps}"
            raise TooLittleDataError(f"too little data: {text}")
        usable = [shortest]
    return usable


class LookbackFit(NamedTuple):
    """The sum of the candidates of one lookback, `(lookback, horizon)` for each channel, and their number."""

    weights: list[Values]
    candidates: int


def fit_lookback(values: Values, split: Split, shape: Shape, lookback: int, alphas: Sequence[float]) -> LookbackFit:
    """All candidates of one lookback; lookbacks are independent and may be fitted at the same time."""
    horizon_steps, day_steps = shape
    n = split.train - lookback - horizon_steps + 1
    size, channels = lookback + horizon_steps, values.shape[1]
    own = [products_of_windows(values[:, c], 0, n, size) for c in range(channels)]
    first, last = split.train - lookback, split.validation - lookback - horizon_steps + 1
    validation = [products_of_windows(values[:, c], first, last, size) for c in range(channels)]
    total = [np.zeros((lookback, horizon_steps)) for _ in range(channels)]
    count = 0
    for level_steps in sorted({1, min(day_steps, lookback), lookback}):
        level = np.zeros(lookback)
        level[-level_steps:] = 1 / level_steps
        around = [_about_level(one, level) for one in own]
        for channel in range(channels):
            total[channel] += _best_ridge(around[channel], validation[channel], level, n, alphas)
        count += 1
        if channels > 1:
            together = np.sum(around, axis=0), np.sum(validation, axis=0)
            shared = _best_ridge(*together, level, n * channels, alphas)
            total = [one + shared for one in total]
            count += 1
    return LookbackFit(total, count)


def mean_of(values: Values, split: Split, parts: Sequence[LookbackFit]) -> DirectLinear:
    """The mean of all candidates of all lookbacks, as one matrix over the longest of them for each channel."""
    horizon_steps = parts[0].weights[0].shape[1]
    count = sum(part.candidates for part in parts)
    longest = max(len(part.weights[0]) for part in parts)
    weights = []
    for channel in range(values.shape[1]):
        whole = np.zeros((longest, horizon_steps))
        for part in parts:
            whole[longest - len(part.weights[channel]) :] += part.weights[channel] / count
        weights.append(whole)
    first, last = split.train - longest, split.validation - longest - horizon_steps + 1
    missed = [
        _mse(one, products_of_windows(values[:, c], first, last, longest + horizon_steps)) / (last - first)
        for c, one in enumerate(weights)
    ]
    return DirectLinear(weights=tuple(weights), validation_mse=float(np.mean(missed)), candidates=count)


def products_of_windows(series: Values, first: int, last: int, size: int) -> Values:
    """Sums over the windows that start in `[first, last)` of the products of any two of their values, `(size, size)`.

    The next row is the one before, moved on by one step: one value comes in, one goes out.
    """
    n = last - first
    part = series[first : last + size - 1]
    products = np.empty((size, size))
    products[0] = np.correlate(part, part[:n], "valid")
    for i in range(1, size):
        products[i, i:] = products[i - 1, i - 1 : -1] - part[i - 1] * part[i - 1 : size - 1]
        products[i, i:] += part[n + i - 1] * part[n + i - 1 : n + size - 1]
        products[i:, i] = products[i, i:]
    products[:, 0] = products[0]
    return products


def forecast_direct(weights: Values, history: Values) -> Values:
    """Forecasts `(N, horizon)` by the weights, from windows `(N, lookback)` without gaps."""
    last = history[:, -1:]
    return np.asarray((history - last) @ weights + last)


def export_direct(weights: Values, channel: Channel, probes: Inputs, *, now: datetime) -> bytes:
    """One file of the contract of all models, with one quantile, sealed and proved.

    Args:
        weights: Of one channel.
        channel: Goes into the manifest.
        probes: Inputs to prove it on; some of them become the golden vectors.
        now: Goes into the manifest.

    Raises:
        ExportError: If the file gives other values than the weights, in one call or one by one.
    """
    lookback, horizon = weights.shape
    spec = FeatureSpec(
        signals=(channel.signal,),
        series=(),
        typical_signals=(channel.typical,),
        typical_series=(),
        time_zone="UTC",
        holidays=(),
        years=_YEARS,
        window=Window(channel.step_s, lookback, horizon),
    )
    model, tolerance = direct_graph(weights, spec), TOLERANCE * channel.spread
    prove_direct(model, weights, probes, tolerance)
    manifest = ModelManifest(
        format=FORMAT,
        site=channel.site,
        signal=channel.signal,
        release=1,
        created_at_ms=round(1000 * now.timestamp()),
        signals={channel.signal: ""},
        series={},
        step_s=channel.step_s,
        history_steps=lookback,
        horizon_steps=horizon,
        quantiles=[0.5],
        time_zone=spec.time_zone,
        holidays=[],
        years=_YEARS,
        history_share_min=0.5,
        tolerance=tolerance,
        trained_from_ms=1000
        * (channel.trained_to_s - channel.step_s * (channel.trained_forecasts + lookback + horizon - 1)),
        trained_to_ms=1000 * channel.trained_to_s,
        trained_forecasts=channel.trained_forecasts,
        trained_sha256=sha256(np.ascontiguousarray(weights).tobytes()).hexdigest(),
        made_with={name: version(name) for name in _TOOLS},
    )
    seal(model, manifest, {name: value[:3] for name, value in probes.items()})
    content = bytes(model.SerializeToString())
    check_file(content)
    return content


def direct_graph(weights: Values, spec: FeatureSpec) -> onnx.ModelProto:
    """The model as a graph: gaps filled, last value off, one product, last value back."""
    g = GraphWriter()
    window, row = spec.window, g.ints(1)
    history = filled_gaps(g, "history", gap_shifts(window), spec.typical_signals, _FILLED)
    values = g("Squeeze", history, g.ints(2))
    last = g("Gather", values, g.ints(window.history_steps - 1), axis=1)
    ahead = g("Add", g("MatMul", g("Sub", values, last), g.const(weights)), last)
    # the instants count for nothing, but they are an input of every model
    nothing = g("Mul", g("Cast", g("Unsqueeze", "issued_at_s", row), to=onnx.TensorProto.FLOAT), g.const(0.0))
    g("Unsqueeze", g("Add", ahead, nothing), g.ints(2), name=QUANTILES)
    file = g.model(spec, [value_info(QUANTILES, "batch", window.horizon_steps, 1)])
    onnx.checker.check_model(file, full_check=True)
    return file


def prove_direct(model: onnx.ModelProto, weights: Values, probes: Inputs, tolerance: float) -> None:
    """Prove that the file gives the values of the weights for the windows it has filled, in one call and one by one.

    Raises:
        ExportError: If not.
    """
    opened = onnx.load_from_string(model.SerializeToString())
    opened.graph.output.append(value_info(_FILLED))
    with_filled, session = open_session(opened), open_session(model)
    filled = run(with_filled, probes, _FILLED)[:, :, 0]
    known = np.isfinite(probes["history"][:, :, 0])
    if not np.array_equal(filled[known], probes["history"][:, :, 0][known]):
        raise ExportError("values are changed where there is no gap")
    expected = forecast_direct(weights, filled.astype(np.float64))[:, :, None]
    for how, call in (("in one call", run), ("one by one", run_singly)):
        medians = call(session, probes, QUANTILES)
        worst = float(np.abs(medians - expected).max())
        if not worst <= tolerance:
            raise ExportError(f"forecasts are off by {worst:.3g} {how}; allowed are {tolerance:.3g}")


def _about_level(products: Values, level: Values) -> Values:
    """Products of windows from which their level was taken off, from those of the windows as they are."""
    size = len(level)
    with_level = level @ products[:size]
    return products - with_level[None, :] - with_level[:, None] + float(with_level[:size] @ level)


def _best_ridge(about: Values, validation: Values, level: Values, windows: int, alphas: Sequence[float]) -> Values:
    """Weights with the penalty that validates best, the level put back; from the middle to where it gets better."""
    size, tried = len(level), dict[int, tuple[float, Values]]()

    def error(i: int) -> float:
        if not 0 <= i < len(alphas):
            return np.inf
        if i not in tried:
            penalized = about[:size, :size] + alphas[i] * windows * np.eye(size)
            slopes = np.linalg.solve(penalized, about[:size, size:])
            weights = slopes - np.outer(level, slopes.sum(axis=0)) + level[:, None]
            tried[i] = _mse(weights, validation), weights
        return tried[i][0]

    at = len(alphas) // 2
    while True:
        best = min((at, at + 1, at - 1), key=error)
        if best == at:
            return tried[at][1]
        at = best


def _mse(weights: Values, products: Values) -> float:
    """Mean over the leads of the squared error summed over windows, from the products of the windows."""
    size = len(weights)
    squared = np.diag(products)[size:] + (weights * (products[:size, :size] @ weights - 2 * products[:size, size:])).sum(
        axis=0
    )
    return float(squared.mean())
