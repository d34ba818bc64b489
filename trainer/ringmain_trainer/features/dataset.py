"""History to training arrays: windows of step values, and the future as it was known at each issue time.

Gaps stay NaN: the feature graph fills what it needs, targets are never filled. Quality MISSING and null are gaps.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ringmain_protocol import topics
from ringmain_protocol.messages import Quality
from ringmain_trainer.config.trainer import ModelConfig, TrainerConfig, is_time_zone
from ringmain_trainer.history.delta import scan
from ringmain_trainer.quality.marks import Grid, masked, masked_counts, plausible
from ringmain_trainer.quality.rules import check

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Inputs = dict[str, NDArray[np.float32] | NDArray[np.int64]]
"""What a model file is fed: `history`, `known_future`, `issued_at_s`."""

_AHEAD_MAX: Final = timedelta(days=1)
_BEHIND_MAX: Final = timedelta(days=3660)


class Window(NamedTuple):
    """Shape of what a model sees."""

    step_s: int
    history_steps: int
    horizon_steps: int


class StepTable(NamedTuple):
    """Step values of one site on a whole grid; `values` is `(n_steps, n_signals)`, NaN where there is none."""

    start_s: int
    values: Floats


class Issue(NamedTuple):
    """One series as it was issued once: `values[i]` holds from `start_s + i * step_s` on, for `step_s`."""

    issued_at_s: int
    start_s: int
    step_s: int
    values: Floats


class SeriesHistory(NamedTuple):
    """All issues of one series, in order of issue, with its unit."""

    unit: str
    issues: list[Issue]


class SiteData(NamedTuple):
    """All that a model of one site and signal is made from; `steps` has the columns of the model's history.

    Values that the rules of `quality` mark are gaps in `steps`; `masked` counts them by `signal.mark`.
    """

    site: str
    time_zone: str
    steps: StepTable
    series: dict[str, SeriesHistory]
    masked: dict[str, int] | None = None


class Examples(NamedTuple):
    """Inputs of a model for N issue times, and what then happened, `(N, horizon_steps)` with NaN for gaps."""

    inputs: Inputs
    targets: Floats

    def take(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> "Examples":
        """The chosen ones."""
        return Examples({name: value[chosen] for name, value in self.inputs.items()}, self.targets[chosen])

    @property
    def issued_at_s(self) -> Ints:
        """Instants of issue."""
        return self.inputs["issued_at_s"].astype(np.int64)


def read_site(
    config: TrainerConfig, site: str, model: ModelConfig, *, until: datetime | None, since: datetime | None = None
) -> SiteData | None:
    """What the history holds for a model of a site, at most `training.days_max`; None without any step of its signal."""
    step_s = config.training.step_s
    steps = read_steps(config.history, site, model.history, step_s, until, since)
    if steps is None:
        return None
    first = max(0, len(steps.values) - config.training.days_max * 86400 // step_s)
    steps = StepTable(steps.start_s + first * step_s, steps.values[first:])
    zone = read_time_zone(config.history, site) or config.time_zone
    series = read_series(config.history, site, model.series, until, since)
    series = {name: _plausible(name, history, config) for name, history in series.items()}
    checked = check(steps.values, model.history, Grid(steps.start_s, step_s), config.quality)
    counts = masked_counts(checked.marks, model.history, config.quality)
    steps = StepTable(steps.start_s, masked(steps.values, checked, config.quality))
    return SiteData(site, zone if is_time_zone(zone) else config.time_zone, steps, series, counts)


def _plausible(name: str, history: SeriesHistory, config: TrainerConfig) -> SeriesHistory:
    """The series without what cannot be true."""
    return SeriesHistory(
        history.unit, [one._replace(values=plausible(name, one.values, config.quality)) for one in history.issues]
    )


def read_steps(  # noqa: PLR0913, PLR0917  what, and between which instants
    location: str, site: str, signals: Sequence[str], step_s: int, until: datetime | None, since: datetime | None = None
) -> StepTable | None:
    """Step values of a site from its first to its last step before `until`; None if it has none of the first signal.

    Of several values for one step the one received last counts. Steps whose time cannot be true are left out: more than a
    day ahead of their receipt, or ten years behind.
    """
    rows = scan(location, topics.STEPS, site=site, since=since).filter(
        pl.col("signal").is_in(list(signals)),
        pl.col("step_s") == step_s,
        pl.col("value").is_not_null(),
        pl.col("quality") < Quality.MISSING,
        pl.col("start_at") <= pl.col("received_at") + _AHEAD_MAX,
        pl.col("start_at") >= pl.col("received_at") - _BEHIND_MAX,
    )
    if until is not None:
        rows = rows.filter(pl.col("start_at") + timedelta(seconds=step_s) <= until)
    newest = rows.sort("received_at", "sequence").unique(["signal", "start_at"], keep="last")
    found = newest.select("signal", pl.col("start_at").dt.epoch("s").alias("start_s"), "value").collect()
    return step_table(found, signals, step_s)


def step_table(rows: pl.DataFrame, signals: Sequence[str], step_s: int) -> StepTable | None:
    """Rows `signal`, `start_s`, `value` on a grid; None without the first signal, which is the target."""
    of_target = rows.filter(pl.col("signal") == signals[0])["start_s"]
    first, last = of_target.min(), of_target.max()
    if not isinstance(first, int) or not isinstance(last, int):
        return None
    first -= first % step_s
    values = np.full(((last - first) // step_s + 1, len(signals)), np.nan, np.float32)
    inside = rows.filter(pl.col("start_s").is_between(first, last), pl.col("start_s") % step_s == 0)
    for column, signal in enumerate(signals):
        own = inside.filter(pl.col("signal") == signal)
        values[(own["start_s"].to_numpy() - first) // step_s, column] = own["value"].to_numpy()
    return StepTable(first, values)


def read_series(
    location: str, site: str, names: Sequence[str], until: datetime | None, since: datetime | None = None
) -> dict[str, SeriesHistory]:
    """All issues of the named series of a site; a series without any has an empty list."""
    rows = scan(location, topics.SERIES, site=site, since=since).filter(pl.col("name").is_in(list(names)))
    if until is not None:
        rows = rows.filter(pl.col("issued_at") <= until)
    instants = (pl.col("issued_at").dt.epoch("s").alias("issued_s"), pl.col("valid_at").dt.epoch("s").alias("start_s"))
    columns = ["name", *instants, "step_s", "unit", pl.col("value").cast(pl.Float32)]
    frame = rows.sort("name", "issued_at", "valid_at").select(columns).collect()
    found: dict[str, SeriesHistory] = {name: SeriesHistory("", []) for name in names}
    for (name,), part in frame.partition_by("name", as_dict=True, maintain_order=True).items():
        issued_s, start_s, step_s = (part[column].to_numpy() for column in ("issued_s", "start_s", "step_s"))
        values = part["value"].to_numpy()
        first = np.flatnonzero(np.diff(issued_s, prepend=issued_s[0] - 1))
        last = [*first[1:].tolist(), len(values)]
        issues = [
            Issue(int(issued_s[i]), int(start_s[i]), int(step_s[i]), values[i:j]) for i, j in zip(first, last, strict=True)
        ]
        found[str(name)] = SeriesHistory(part["unit"][-1], issues)  # the unit of the newest issue
    return found


def read_time_zone(location: str, site: str) -> str | None:
    """The time zone that the site's newest status names."""
    rows = scan(location, topics.STATUS, site=site).sort("received_at").select(pl.col("time_zone").last()).collect()
    zone = rows["time_zone"].to_list()
    return zone[0] if zone else None


def read_sites(location: str) -> list[str]:
    """Sites with step values."""
    return sorted(scan(location, topics.STEPS).select(pl.col("site").unique()).collect()["site"].to_list())


def known_future(history: SeriesHistory, issued_at_s: NDArray[np.int64], window: Window) -> Floats:
    """A series for the steps from each issue time on, `(N, horizon_steps)`, per step from the newest issue then known."""
    starts = issued_at_s[:, None] + window.step_s * np.arange(window.horizon_steps)
    known = np.full(starts.shape, np.nan, np.float32)
    if not history.issues:
        return known
    issued, start, step = (np.array(column, np.int64) for column in list(zip(*history.issues, strict=True))[:3])
    length = np.array([len(issue.values) for issue in history.issues])
    offset = np.cumsum(length) - length
    values = np.concatenate([*(issue.values for issue in history.issues), np.full(1, np.nan, np.float32)])
    reach = np.maximum.accumulate(start + step * length)  # the latest end of an issue and all older ones
    newest = np.searchsorted(issued, issued_at_s, side="right") - 1
    asked = np.arange(len(starts))
    while len(asked):
        asked = asked[(newest[asked] >= 0) & (reach[newest[asked]] > issued_at_s[asked])]
        of = newest[asked, None]
        row = (starts[asked] - start[of]) // step[of]
        found = np.where((row >= 0) & (row < length[of]), values[np.clip(offset[of] + row, 0, len(values) - 1)], np.nan)
        known[asked] = np.where(np.isnan(known[asked]), found, known[asked])
        newest[asked] -= 1
        asked = asked[np.isnan(known[asked]).any(axis=1)]
    return known


def examples(steps: StepTable, series: Iterable[SeriesHistory], window: Window, rows: Iterable[int]) -> Examples:
    """Inputs for forecasts issued at the START of the given rows of the grid, and what then happened.

    Rows before the grid are NaN, as are targets beyond its end.
    """
    n, step_s = len(steps.values), window.step_s
    chosen = np.fromiter(rows, np.int64)
    past = chosen[:, None] + np.arange(-window.history_steps, 0)
    ahead = chosen[:, None] + np.arange(window.horizon_steps)
    history = steps.values[np.clip(past, 0, n - 1)]
    history[(past < 0) | (past >= n)] = np.nan
    targets = steps.values[np.clip(ahead, 0, n - 1), 0]
    targets[ahead >= n] = np.nan
    issued_at_s = steps.start_s + step_s * chosen
    columns = [known_future(one, issued_at_s, window) for one in series]
    nothing = np.zeros((len(chosen), window.horizon_steps, 0), np.float32)
    future = np.stack(columns, axis=2) if columns else nothing
    return Examples({"history": history, "known_future": future, "issued_at_s": issued_at_s}, targets)


def training_rows(steps: StepTable, window: Window, *, every: int, share_min: float) -> list[int]:
    """Rows at which training forecasts are issued.

    Every so many steps (a number without common factor with a day walks through all times of day), with a whole horizon of
    grid ahead, at least `share_min` of the target in the window, and at least one target to learn from.
    """
    finite = np.isfinite(steps.values[:, 0])
    count = np.concatenate([[0], np.cumsum(finite)])
    rows = np.arange(window.history_steps, len(finite) - window.horizon_steps + 1, every)
    share = (count[rows] - count[rows - window.history_steps]) / window.history_steps
    seen = count[rows + window.horizon_steps] - count[rows]
    return [int(row) for row in rows[(share >= share_min) & (seen > 0)]]
