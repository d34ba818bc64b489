"""The features of a forecast as an ONNX graph: the only feature code there is.

The trainer runs this graph to make its design matrix, and the finished model file holds the same nodes. Inputs are those of
a model file (see `ringmain_protocol.manifest`); the output is `features`, float32 `[batch, horizon_steps, columns]`. The
calendar is integer arithmetic and tables, means are added up by halves: with Sin, Cos and ReduceMean the last bit depends on
the batch.
"""

from collections.abc import Sequence
from datetime import date
from typing import Any, Final

import numpy as np
import onnx
from msgspec import Struct
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ringmain_trainer.calendar import DAY_S, SATURDAY, SUNDAY
from ringmain_trainer.clock_tables import utc_offsets
from ringmain_trainer.config.trainer import FeatureGroup
from ringmain_trainer.features.examples import Window

OPSETS: Final = {"": 18, "ai.onnx.ml": 3}
IR_VERSION: Final = 8
FEATURES: Final = "features"
WEEKDAY: Final = "weekday"
"""The column that is a code, 0 for Monday: linear estimators need it one-hot."""
WEEK_PEAK: Final = "week_peak"
"""The column with the largest target, without its sign, of the last week at this time of day, give or take an hour."""

_ROLLING_H: Final = (1, 24, 168)
_FADING_H: Final = (1, 4, 16)
_HOLD_STEPS: Final = (1, 2)  # by doubling: a value is held for up to three steps
_HARMONICS: Final = (1, 2, 3)
_PRODUCT_WAVES: Final = (0, 1, len(_HARMONICS), len(_HARMONICS) + 1)
_MEAN_H: Final = 3
_EPOCH: Final = date(1970, 1, 1)


class FeatureSpec(Struct, frozen=True, kw_only=True):
    """A feature graph: nothing else of a site goes into it.

    `typical_signals` and `typical_series` fill gaps that no other value can fill. Values of signals outside `range_signals`,
    low and high of each, are gaps; series are clamped to `range_series`; both if there are any. `years` are the first and
    the last with known UTC offsets.
    """

    signals: tuple[str, ...]
    series: tuple[str, ...]
    typical_signals: tuple[float, ...]
    typical_series: tuple[float, ...]
    time_zone: str
    holidays: tuple[str, ...]
    years: tuple[int, int]
    window: Window
    lag_days: tuple[int, ...] = (1, 2, 7)
    groups: tuple[FeatureGroup, ...] = ()
    range_series: tuple[tuple[float, float], ...] = ()
    range_signals: tuple[tuple[float, float], ...] = ()


class GraphWriter:
    """Collects nodes and constants under unique names."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def const(self, value: object, dtype: type[np.generic] = np.float32) -> str:
        """A constant; its name."""
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), f"const_{len(self.constants)}"))
        return str(self.constants[-1].name)

    def ints(self, *values: int) -> str:
        """A constant of whole numbers; its name."""
        return self.const(values, np.int64)

    def __call__(self, op: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:  # noqa: ANN401  as in onnx
        """A node; the name of its output."""
        output = name or f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    def split(self, value: str, outputs: Sequence[str]) -> None:
        """Cut the last of three axes into single columns under these names."""
        self.nodes.append(helper.make_node("Split", [value], outputs, axis=2, num_outputs=len(outputs)))

    def model(self, spec: FeatureSpec, outputs: Sequence[onnx.ValueInfoProto]) -> onnx.ModelProto:
        """All nodes as a model with the inputs of a model file."""
        window = spec.window
        inputs = [
            value_info("history", "batch", window.history_steps, len(spec.signals)),
            value_info("known_future", "batch", window.horizon_steps, len(spec.series)),
            value_info("issued_at_s", "batch", dtype=TensorProto.INT64),
        ]
        graph = helper.make_graph(self.nodes, "forecast", inputs, outputs, self.constants)
        opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="ringmain")


def value_info(name: str, *shape: str | int, dtype: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    """Name, type and shape of an input or output; without a shape it is left open."""
    return helper.make_tensor_value_info(name, dtype, shape or None)


def columns_of(spec: FeatureSpec) -> tuple[str, ...]:
    """Names of the columns of the features, in order."""
    lags = [f"lag_{days}d" for days in spec.lag_days]
    names = [f"{lag}.{signal}" for lag in (*lags, "week_mean") for signal in spec.signals]
    rolling = [f"{kind}_{hours}h" for hours in _ROLLING_H for kind in ("mean", "min", "max", "std")]
    waves = [f"{wave}_{k}" for wave in ("sin", "cos") for k in _HARMONICS]
    names += [WEEK_PEAK, "last", *rolling, *(f"fading_{hours}h" for hours in _FADING_H)]
    names += [*waves, WEEKDAY, "holiday", "lead", *spec.series]
    names += [f"{name}*{waves[k]}" for name in spec.series for k in _PRODUCT_WAVES]
    if "weekend_waves" in spec.groups:
        names += [f"{day}*{wave}" for day in ("saturday", "sunday") for wave in waves]
    if "series_means" in spec.groups:
        names += [f"{name}_mean_{_MEAN_H}h" for name in spec.series]
    if "wind_cubed" in spec.groups:
        names += [f"{spec.series[i]}_cubed" for i in _winds(spec)]
    return tuple(names)


def feature_model(spec: FeatureSpec, *outputs: onnx.ValueInfoProto) -> onnx.ModelProto:
    """The features alone; or other outputs of the graph, by name, for tests."""
    g = GraphWriter()
    add_features(g, spec)
    return g.model(spec, outputs or [value_info(FEATURES)])


def add_features(g: GraphWriter, spec: FeatureSpec) -> str:
    """Write the feature graph; the name of its output.

    Lags are relative to the target; where a lag is still to come, the next older whole day. A value that the training never
    saw the like of is a gap: the quality rules that would mark it are not at the edge. Gaps: hold up to three steps, then
    the same step 1, 2, 3, ... days earlier, then the typical value.
    """
    window = spec.window
    history = "history"
    if spec.range_signals:
        low, high = np.array(spec.range_signals).T
        outside = g("Or", g("Less", history, g.const(low)), g("Greater", history, g.const(high)))
        history = g("Where", outside, g.const(np.nan), history, name="seen")
    history = filled_gaps(g, history, gap_shifts(window), spec.typical_signals, "filled")
    known = filled_gaps(g, "known_future", _HOLD_STEPS, spec.typical_series, "known")
    if spec.range_series:
        low, high = np.array(spec.range_series).T
        known = g("Max", g("Min", known, g.const(high)), g.const(low), name="clamped")
    parts = [*_lags(g, history, spec), *_recent(g, history, window)]
    waves, calendar = _calendar(g, spec)
    parts += [*calendar, known]
    if spec.series:
        parts.append(_products(g, known, waves, spec))
    parts += _groups(g, spec, known=known, waves=waves, weekday=calendar[1])
    return g("Concat", *parts, axis=2, name=FEATURES)


def gap_shifts(window: Window) -> list[int]:
    """By how many steps a gap in the history looks back, one after the other: a short hold, then whole days."""
    day = DAY_S // window.step_s
    return [*_HOLD_STEPS, *(day * 2**k for k in range(10) if day * 2**k < window.history_steps)]


def filled_gaps(g: GraphWriter, values: str, shifts: Sequence[int], typical: Sequence[float], name: str) -> str:
    """NaN takes the value `shift` rows earlier, one shift after the other; in the end the typical value."""
    for shift in shifts:
        earlier = g("Pad", values, g.ints(0, shift, 0, 0, -shift, 0), g.const(np.nan))  # cuts and shifts in one node
        values = g("Where", g("IsNaN", values), earlier, values)
    return g("Where", g("IsNaN", values), g.const(typical), values, name=name)


def _lags(g: GraphWriter, history: str, spec: FeatureSpec) -> list[str]:
    """All signals whole days before the target, their mean over the week at this time of day, and the target's peak then."""
    window = spec.window
    day, hour, n = DAY_S // window.step_s, 3600 // window.step_s, window.history_steps
    lead = np.arange(window.horizon_steps)

    def rows(days: int) -> NDArray[np.int64]:
        """Where that is still to come, the next older whole day; from before the window, the oldest there is."""
        whole = np.maximum(days, lead // day + 1).astype(np.int64)
        rows: NDArray[np.int64] = np.maximum(n + lead - day * whole, 0)
        return rows

    parts = [g("Gather", history, g.const(rows(d), np.int32), axis=1, name=f"lag_{d}d") for d in spec.lag_days]
    week = g.const(np.maximum(np.stack([rows(1) - day * k for k in range(7)], axis=1), 0), np.int32)
    parts.append(g("Squeeze", _mean(g, g("Gather", history, week, axis=1), 7, axis=2), g.ints(2)))
    size = g("Transpose", g("Abs", g("Gather", history, g.ints(0), axis=2)), perm=[0, 2, 1])
    around = g("MaxPool", size, kernel_shape=[2 * hour + 1], pads=[hour, hour])
    peak = g("ReduceMax", g("Gather", around, week, axis=2), g.ints(3), keepdims=0)
    return [*parts, g("Transpose", peak, perm=[0, 2, 1], name=WEEK_PEAK)]


def _recent(g: GraphWriter, history: str, window: Window) -> list[str]:
    """The target at issue: last value and rolling statistics; and how far it is from yesterday, fading with lead time."""
    day, hour, n = DAY_S // window.step_s, 3600 // window.step_s, window.history_steps
    row, lead = g.ints(1), np.arange(window.horizon_steps)
    target = g("Gather", history, g.const(0, np.int64), axis=2)
    now = [g("Gather", target, g.ints(n - 1), axis=1)]
    for hours in _ROLLING_H:
        tail = g("Slice", target, g.ints(n - hours * hour), g.ints(n), row)
        mean = _mean(g, tail, hours * hour, axis=1)
        error = g("Sub", tail, mean)
        spread = g("Sqrt", _mean(g, g("Mul", error, error), hours * hour, axis=1))
        now += [mean, g("ReduceMin", tail, row), g("ReduceMax", tail, row), spread]
    same = g("Expand", g("Unsqueeze", g("Concat", *now, axis=1, name="now"), row), g.ints(1, len(lead), 1))
    yesterday = _mean(g, g("Slice", target, g.ints(n - day - hour), g.ints(n - day), row), hour, axis=1)
    fading = g.const(np.exp(-lead[:, None] / hour / np.array(_FADING_H)))
    return [same, g("Mul", g("Unsqueeze", g("Sub", now[1], yesterday), row), fading)]


def _mean(g: GraphWriter, values: str, count: int, *, axis: int) -> str:
    """Mean over an axis of `count` rows, which becomes one row.

    By halves, always in one order: the order of ReduceMean depends on the place of a row in memory, and rows of six values
    (an hour of ten minutes) had other last bits in a batch than alone.
    """
    odd, rows, along = [], count, g.ints(axis)
    while rows > 1:
        half = rows // 2
        if rows % 2:
            odd.append(g("Slice", values, g.ints(rows - 1), g.ints(rows), along))
        first = g("Slice", values, g.ints(0), g.ints(half), along)
        values = g("Add", first, g("Slice", values, g.ints(half), g.ints(2 * half), along))
        rows = half
    for one in odd:
        values = g("Add", values, one)
    return g("Div", values, g.const(count))


def _calendar(g: GraphWriter, spec: FeatureSpec) -> tuple[str, list[str]]:
    """Daily waves, and with them weekday, holiday and lead time, by the local clock of each target.

    A holiday counts as a Sunday as well: a few weeks of training may hold no holiday to learn from.
    """
    window = spec.window
    day, lead, row = DAY_S // window.step_s, np.arange(window.horizon_steps), g.ints(1)
    issued = g("Unsqueeze", "issued_at_s", row)
    at = g("Add", issued, g.ints(*(lead * window.step_s).tolist()))
    slot, weekday, days = _local_time(g, spec, at)
    angle = 2 * np.pi * np.arange(day)[:, None] / day * np.array(_HARMONICS)
    waves = g("Gather", g.const(np.concatenate([np.sin(angle), np.cos(angle)], axis=1)), slot, name="waves")
    dates = g.ints(-1, *((date.fromisoformat(text) - _EPOCH).days for text in spec.holidays))
    is_date = g("Cast", g("Equal", g("Unsqueeze", days, g.ints(2)), dates), to=TensorProto.FLOAT)
    holiday = g("ReduceMax", is_date, g.ints(2), name="holiday")
    is_holiday = g("Squeeze", g("Cast", holiday, to=TensorProto.BOOL), g.ints(2))
    weekday = g("Where", is_holiday, g.const(SUNDAY, np.int64), weekday)
    code = g("Cast", g("Unsqueeze", weekday, g.ints(2)), to=TensorProto.FLOAT)
    # from the instants: the column needs a row per forecast
    ahead = g("Div", g("Sub", at, issued), g.ints(window.step_s))
    leads = g("Gather", g.const(lead[:, None] / len(lead)), ahead)
    return waves, [waves, code, holiday, leads]


def _local_time(g: GraphWriter, spec: FeatureSpec, at: str) -> tuple[str, str, str]:
    """Slot of the day, weekday (Monday = 0) and days since 1970 by local clock, from UTC seconds `[batch, horizon]`."""
    changes, offsets = utc_offsets(spec.time_zone, *spec.years)
    passed = g("GreaterOrEqual", g("Unsqueeze", at, g.ints(2)), g.ints(*changes.tolist()))
    passed = g("ReduceSum", g("Cast", passed, to=TensorProto.INT64), g.ints(2), keepdims=0)
    local = g("Add", at, g("Gather", g.ints(*offsets.tolist()), passed))
    days = g("Div", local, g.ints(DAY_S))
    slot = g("Div", g("Mod", local, g.ints(DAY_S)), g.ints(spec.window.step_s), name="slot")
    return slot, g("Mod", g("Add", days, g.ints(3)), g.ints(7), name="weekday"), days


def _products(g: GraphWriter, known: str, waves: str, spec: FeatureSpec) -> str:
    """Each series times the first two daily waves: the effect of the same weather at another time of day."""
    first_two = g("Gather", waves, g.const(_PRODUCT_WAVES, np.int64), axis=2)
    product = g("Mul", g("Unsqueeze", known, g.ints(3)), g("Unsqueeze", first_two, g.ints(2)))
    return g("Reshape", product, g.ints(0, spec.window.horizon_steps, 4 * len(spec.series)))


def _groups(g: GraphWriter, spec: FeatureSpec, *, known: str, waves: str, weekday: str) -> list[str]:
    """The features that are off unless they are asked for."""
    parts = []
    if "weekend_waves" in spec.groups:
        for day in (SATURDAY, SUNDAY):  # a holiday counts as a Sunday
            is_day = g("Cast", g("Equal", weekday, g.const(float(day))), to=TensorProto.FLOAT)
            parts.append(g("Mul", waves, is_day))
    if "series_means" in spec.groups and spec.series:
        half = max(1, _MEAN_H * 1800 // spec.window.step_s)
        lines = g("Transpose", known, perm=[0, 2, 1])
        means = g("AveragePool", lines, kernel_shape=[2 * half + 1], pads=[half, half], count_include_pad=0)
        parts.append(g("Transpose", means, perm=[0, 2, 1]))
    winds = _winds(spec)
    if "wind_cubed" in spec.groups and winds:
        wind = g("Gather", known, g.ints(*winds), axis=2)
        parts.append(g("Mul", g("Mul", wind, wind), wind))
    return parts


def _winds(spec: FeatureSpec) -> list[int]:
    """Columns of the series that are speeds of the wind, by their names."""
    return [i for i, name in enumerate(spec.series) if "wind" in name and not ("dir" in name or "deg" in name)]
