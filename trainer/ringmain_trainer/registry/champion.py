"""The champion: the released model of a site and signal, read, run on the days after its training, and put to the gate."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ringmain_model.session import QUANTILES, RUNTIME_ERRORS, open_session, run_in_blocks
from ringmain_protocol.manifest import ModelManifest
from ringmain_trainer.config.trainer import ModelConfig, TrainerConfig
from ringmain_trainer.errors import ExportError, PublishError, TooLittleDataError
from ringmain_trainer.export.onnx_file import check_file
from ringmain_trainer.features.examples import Inputs, Window, examples
from ringmain_trainer.features.site_data import SiteData, read_site
from ringmain_trainer.models.fit import later_half
from ringmain_trainer.models.metrics import Forecasts
from ringmain_trainer.registry.candidates import read_champion
from ringmain_trainer.registry.gate import Champion, Decision, Verdict, decide, second_look


class Released(NamedTuple):
    """A released model with the number of its release and its manifest."""

    release: int
    content: bytes
    manifest: ModelManifest

    @property
    def model(self) -> ModelConfig:
        """Its signal, history and series as in a configuration."""
        return ModelConfig(
            signal=self.manifest.signal, history=list(self.manifest.signals), series=list(self.manifest.series)
        )

    @property
    def window(self) -> Window:
        """Its shape."""
        return Window(self.manifest.step_s, self.manifest.history_steps, self.manifest.horizon_steps)


Again = Callable[[int], bytes]
"""The recipe fitted once more on the data known at an instant (UTC seconds), as a model file."""


def judge(  # noqa: PLR0913  the challenger and its data, the champion's place, the way to a second look
    config: TrainerConfig,
    model: ModelConfig,
    data: SiteData,
    held_out: Forecasts,
    *,
    until: datetime | None,
    again: Again,
) -> Verdict:
    """Ask the gate about a newly trained model; a second time where a second look is due.

    Args:
        config: Place of the released models, strictness of the gate.
        model: Signal, history and series of the new model.
        data: The data it was trained on.
        held_out: Its forecasts of the held-out days.
        until: As in training: if the released model has other inputs, they are read up to here.
        again: Makes the model for a second look. If it raises TooLittleDataError or ExportError, there is none.
    """
    champion, note = _champion(config, model, data, held_out, until=until)
    first = decide(held_out, champion, config.promotion, fair=later_half(held_out.issued_at_s), note=note)
    newest = None if champion is None else second_look(held_out, champion, first, config.promotion)
    if champion is None or newest is None:
        return first
    window = Window(held_out.step_s, config.training.history_steps, held_out.actual.shape[1])
    issued_at_s = held_out.issued_at_s[newest]
    try:
        content = again(int(issued_at_s[0]))
    except (TooLittleDataError, ExportError):
        return first  # too little data before the newest days: the first look stands
    rows = (issued_at_s - data.steps.start_s) // window.step_s
    inputs = examples(data.steps, (data.series[name] for name in model.series), window, rows.tolist()).inputs
    quantiles = run_in_blocks(open_session(content), inputs, QUANTILES).astype(np.float64)
    fresh = held_out.take(newest)._replace(quantiles=quantiles)
    of_champion = champion.quantiles[newest[champion.chosen]]
    on_newest = champion._replace(chosen=np.ones(len(issued_at_s), dtype=bool), quantiles=of_champion)
    second = decide(fresh, on_newest, config.promotion, looks=2)
    if second.decision is Decision.UNDECIDED:
        return first
    reason = f"{second.reason}; a second look at the newest days, as {first.reason}"
    scores = first.scores | {f"second_{name}": value for name, value in second.scores.items()}
    return Verdict(decision=second.decision, reason=reason, scores=scores)


def read_released(candidates: Path, signal: str, site: str) -> Released | None:
    """The newest released model, checked by its golden vectors; None if no model is released.

    Raises:
        PublishError, ExportError: If its files are not whole, or do not reproduce the golden vectors.
    """
    champion = read_champion(candidates, signal, site)
    if champion is None:
        return None
    release, candidate = champion
    return Released(release, candidate.content, check_file(candidate.content))


def inputs_for(released: Released, data: SiteData, issued_at_s: np.ndarray) -> Inputs:
    """Inputs of a released model for issue times on the grid of the data."""
    rows = (issued_at_s - data.steps.start_s) // released.window.step_s
    series = (data.series[name] for name in released.model.series)
    return examples(data.steps, series, released.window, rows.tolist()).inputs


def _champion(
    config: TrainerConfig, model: ModelConfig, data: SiteData, held_out: Forecasts, *, until: datetime | None
) -> tuple[Champion | None, str]:
    """Forecasts of the released model; or None, with the reason if there is one that cannot be compared."""
    try:
        released = read_released(Path(config.candidates), model.signal, data.site)
        return (None, "") if released is None else (_forecasts(config, model, data, held_out, released, until=until), "")
    except (PublishError, ExportError, *RUNTIME_ERRORS) as error:
        return None, f"the released model cannot be compared: {error}"


def _forecasts(  # noqa: PLR0913  the released model, and the days it is run on
    config: TrainerConfig,
    model: ModelConfig,
    data: SiteData,
    held_out: Forecasts,
    released: Released,
    *,
    until: datetime | None,
) -> Champion:
    """Forecasts of a released model on the held-out days after its training.

    Raises:
        PublishError: If it cannot be compared.
    """
    window, manifest = released.window, released.manifest
    if (window.step_s, window.horizon_steps) != (held_out.step_s, held_out.actual.shape[1]):
        raise PublishError(f"release {released.release} has another step or horizon")
    chosen = 1000 * held_out.issued_at_s >= manifest.trained_to_ms
    levels = tuple(manifest.quantiles)
    if not chosen.any():
        return Champion(released.release, chosen, np.zeros((0, window.horizon_steps, len(levels))), levels)
    own = released.model
    same = (own.history, own.series) == (model.history, model.series)
    known = data if same else read_site(config, data.site, own, until=until)
    if known is None:
        raise PublishError(f"release {released.release} has no history")
    inputs = inputs_for(released, known, held_out.issued_at_s[chosen])
    quantiles = run_in_blocks(open_session(released.content), inputs, QUANTILES).astype(np.float64)
    return Champion(released.release, chosen, quantiles, levels, manifest.metrics.get("pinball"))
