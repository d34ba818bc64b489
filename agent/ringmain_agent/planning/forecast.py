"""Quantiles of the load and of each generator: by the site's model file, or by seasonal persistence. Planner process only.

Models contain their features and take plain step values. `ringmain_model.verify` checks a model file before it runs.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np

from ringmain_agent.equipment.plausible_values import POWER_MAX_KW
from ringmain_agent.errors import ForecastError
from ringmain_agent.planning.arrays import Array
from ringmain_agent.planning.persistence import seasonal_persistence
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import ForecastResult, Snapshot
from ringmain_model.errors import ModelRejectedError
from ringmain_model.session import RUNTIME_ERRORS, Floats, first_line
from ringmain_model.verify import Model, check_model, read_model
from ringmain_protocol.manifest import ModelManifest

FLOAT32_MAX: Final = 3e38
PERSISTENCE_QUANTILES: Final = (0.1, 0.5, 0.9)
BEYOND_HISTORY: Final = 2.0
"""A forecast beyond the history by more than this many times its range or its largest value is not used."""


Watched = Callable[[str], AbstractContextManager[None]]
"""Entered with the path of a model file whenever it is loaded or run."""


def _unwatched(_: str) -> AbstractContextManager[None]:
    return nullcontext()


class Forecaster:
    """Forecasts for one site; it keeps the last model of each signal open."""

    def __init__(self, site: Site, watched: Watched = _unwatched) -> None:
        self._site, self._watched = site, watched
        self._open: dict[str, tuple[str, Model | ModelRejectedError]] = {}

    def forecast(self, snapshot: Snapshot, signal: str) -> ForecastResult:
        """Forecast by the active model of the signal.

        Raises:
            ForecastError: There is no model, it does not fit this snapshot, or it forecasts powers that the signal never
                came near; use persistence.
            ModelRejectedError: The file must not run; use persistence.
        """
        path = snapshot.models.get(signal)
        if path is None:
            raise ForecastError("no model yet")
        with self._watched(path):
            return self._by_model(snapshot, signal, path)

    def _by_model(self, snapshot: Snapshot, signal: str, path: str) -> ForecastResult:
        model = self._model(path, signal)
        manifest, site = model.manifest, self._site
        if manifest.step_s != snapshot.step_s or manifest.horizon_steps < site.horizon_steps:
            horizon = f"{manifest.horizon_steps} steps of {manifest.step_s} s"
            raise ForecastError(f"model has {horizon}, the site needs {site.horizon_steps} steps of {snapshot.step_s} s")
        _require_years(manifest, snapshot.issued_at_ms)
        history = np.column_stack([_history(snapshot, name, manifest.history_steps) for name in manifest.signals])
        share = float(np.isfinite(history[:, 0]).mean())
        if share < manifest.history_share_min:
            raise ForecastError(
                f"history has a share of {share:.2f} of its steps, the model needs {manifest.history_share_min:.2f}"
            )
        known_future = np.full((manifest.horizon_steps, len(manifest.series)), np.nan, np.float32)
        for column, name in enumerate(manifest.series):
            values = np.array(snapshot.known_future.get(name, ()), np.float64)[: manifest.horizon_steps]
            known_future[: len(values), column] = np.where(np.abs(values) < FLOAT32_MAX, values, np.nan)
        issued_at_s = np.array([snapshot.issued_at_ms // 1000], np.int64)
        try:
            quantiles = model.quantiles(history[None], known_future[None], issued_at_s)[0, : site.horizon_steps]
        except RUNTIME_ERRORS as error:
            raise ForecastError(f"ONNX Runtime: {first_line(error)}") from error
        if not np.isfinite(quantiles).all() or (np.diff(quantiles, axis=1) < 0).any():
            raise ForecastError("the quantiles of the model are not finite or not rising")
        self._require_possible(quantiles, snapshot, signal)
        missing = [name for column, name in enumerate(manifest.series) if np.isnan(known_future[:, column]).all()]
        return ForecastResult(
            signal=signal,
            quantiles=manifest.quantiles,
            values=_within_nameplate(quantiles.astype(np.float64), signal, site).tolist(),
            release=manifest.release,
            reason=f"without {', '.join(missing)}" if missing else "",
        )

    def persistence(self, snapshot: Snapshot, signal: str, reason: str) -> ForecastResult:
        """Forecast by seasonal persistence; `reason` is the reason for not using a model.

        Raises:
            ForecastError: If the history is empty.
        """
        history = np.frombuffer(snapshot.history.get(signal, b""), "<f4").astype(np.float64)
        possible = np.where(np.abs(history) < POWER_MAX_KW, history, np.nan)
        values = seasonal_persistence(
            possible, step_s=snapshot.step_s, horizon_steps=self._site.horizon_steps, quantiles=PERSISTENCE_QUANTILES
        )
        return ForecastResult(
            signal=signal,
            quantiles=list(PERSISTENCE_QUANTILES),
            values=_within_nameplate(values, signal, self._site).tolist(),
            release=0,
            reason=reason,
        )

    def _require_possible(self, quantiles: Floats, snapshot: Snapshot, signal: str) -> None:
        """Let pass a forecast near enough to the history of the signal, or to the rating of its plant.

        Raises:
            ForecastError: If it is beyond; use persistence.
        """
        rated_kw = [plant.rated_power_kw for plant in self._site.generators if plant.power_signal == signal]
        history = np.frombuffer(snapshot.history.get(signal, b""), "<f4").astype(np.float64)
        seen = history[np.abs(history) < POWER_MAX_KW]
        low = high = 0.0
        reach = POWER_MAX_KW
        if len(seen):
            low, high = float(seen.min()), float(seen.max())
            reach = BEYOND_HISTORY * max(high - low, abs(low), abs(high), *rated_kw)
        lowest, highest = float(quantiles.min()), float(quantiles.max())
        if lowest < max(low - reach, -POWER_MAX_KW) or highest > min(high + reach, POWER_MAX_KW):
            raise ForecastError(
                f"forecast of {lowest:.4g} to {highest:.4g} kW is too far from the history of {low:.4g} to {high:.4g} kW;"
                " train the model again"
            )

    def _model(self, path: str, signal: str) -> Model:
        opened = self._open.get(signal)
        if opened is None or opened[0] != path:
            try:
                opened = path, check_model(read_model(Path(path)), site=self._site.site, signal=signal)
            except ModelRejectedError as error:
                opened = path, error
            self._open[signal] = opened
        if isinstance(opened[1], ModelRejectedError):
            raise opened[1]
        return opened[1]


def _require_years(manifest: ModelManifest, issued_at_ms: int) -> None:
    last_ms = issued_at_ms + 1000 * manifest.step_s * manifest.horizon_steps
    first_year, last_year = (datetime.fromtimestamp(ms / 1000, UTC).year for ms in (issued_at_ms, last_ms - 1))
    if first_year < manifest.years[0] or last_year > manifest.years[1]:
        year = last_year if first_year >= manifest.years[0] else first_year
        raise ForecastError(f"{year} is outside the model's years {manifest.years[0]} to {manifest.years[1]}")


def _history(snapshot: Snapshot, signal: str, steps: int) -> Floats:
    """Newest `steps` values of a signal; NaN before the start of its history."""
    values = np.frombuffer(snapshot.history.get(signal, b""), "<f4")[-steps:]
    return np.concatenate([np.full(steps - len(values), np.nan, np.float32), values])


def _within_nameplate(values: Array, signal: str, site: Site) -> Array:
    """The quantiles, clamped to the rated power of a generator."""
    for plant in site.generators:
        if plant.power_signal == signal:
            return np.clip(values, -plant.rated_power_kw, 0.0)
    return values
