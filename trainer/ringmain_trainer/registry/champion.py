"""What the gate looks at: the released model of a site and signal on those held-out days that it has not learned from."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ringmain_protocol.manifest import ModelManifest
from ringmain_trainer.config.trainer import ModelConfig, TrainerConfig
from ringmain_trainer.errors import ExportError, PublishError, TooLittleDataError
from ringmain_trainer.export.onnx_file import check_file
from ringmain_trainer.export.onnx_runtime import RUNTIME_ERRORS, open_session, run_in_blocks
from ringmain_trainer.features.examples import Inputs, Window, examples
from ringmain_trainer.features.site_data import SiteData, read_site
from ringmain_trainer.models.fit import later_half
from ringmain_trainer.models.metrics import Forecasts
from ringmain_trainer.registry.candidates import read_champion
from ringmain_trainer.registry.gate import Champion, Decision, Verdict, decide, second_look


class Released(NamedTuple):
    """A released model with the number of its release and what it says of itself."""

    release: int
    content: bytes
    manifest: ModelManifest

    @property
    def model(self) -> ModelConfig:
        """What it is made from, as a configuration says it."""
        return ModelConfig(
            signal=self.manifest.signal, history=list(self.manifest.signals), series=list(self.manifest.series)
        )

    @property
    def window(self) -> Window:
        """Its shape."""
        return Window(self.manifest.step_s, self.manifest.history_steps, self.manifest.horizon_steps)


Again = Callable[[int], bytes]
"""The recipe fitted once more on what was known at an instant, as a model file."""


def judge(  # noqa: PLR0913  what, from what, and how to look again
    config: TrainerConfig,
    model: ModelConfig,
    data: SiteData,
    held_out: Forecasts,
    *,
    until: datetime | None,
    again: Again,
) -> Verdict:
    """Whether what was just trained is promoted.

    Args:
        config: Where the released models are, how strict the gate is.
        model: What was trained.
        data: What it was trained from.
        held_out: The recipe's forecasts of the held-out days.
        until: As in training: where the released model has other inputs, they are read up to here.
        again: For a second look; may raise TooLittleDataError or ExportError, then there is none.
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
        return first  # so much data is not there before the newest days; the first look stands
    rows = (issued_at_s - data.steps.start_s) // window.step_s
    inputs = examples(data.steps, (data.series[name] for name in model.series), window, rows.tolist()).inputs
    made = run_in_blocks(open_session(content), inputs, "quantiles").astype(np.float64)
    fresh = held_out.take(newest)._replace(quantiles=made)
    of_champion = champion.quantiles[newest[champion.chosen]]
    beside = champion._replace(chosen=np.ones(len(issued_at_s), dtype=bool), quantiles=of_champion)
    second = decide(fresh, beside, config.promotion, looks=2)
    if second.decision is Decision.UNDECIDED:
        return first
    reason = f"{second.reason}; a second look at the newest days, as {first.reason}"
    scores = first.scores | {f"second_{name}": value for name, value in second.scores.items()}
    return Verdict(decision=second.decision, reason=reason, scores=scores)


def read_released(config: TrainerConfig, signal: str, site: str) -> Released | None:
    """The newest released model, after it has reproduced its golden vectors; None if there is none.

    Raises:
        PublishError, ExportError: If its files are not whole, or do not compute what they should.
    """
    found = read_champion(Path(config.candidates), signal, site)
    return None if found is None else Released(found[0], found[1].content, check_file(found[1].content))


def inputs_for(released: Released, data: SiteData, issued_at_s: np.ndarray) -> Inputs:
    """Inputs of a released model for times of issue on the grid of the data."""
    rows = (issued_at_s - data.steps.start_s) // released.window.step_s
    series = (data.series[name] for name in released.model.series)
    return examples(data.steps, series, released.window, rows.tolist()).inputs


def _champion(
    config: TrainerConfig, model: ModelConfig, data: SiteData, held_out: Forecasts, *, until: datetime | None
) -> tuple[Champion | None, str]:
    """The released model's forecasts; or None, and why they cannot be compared if there is one."""
    try:
        released = read_released(config, model.signal, data.site)
        return (None, "") if released is None else (_forecasts(config, model, data, held_out, released, until=until), "")
    except (PublishError, ExportError, *RUNTIME_ERRORS) as error:
        return None, f"the released model cannot be compared: {error}"


def _forecasts(  # noqa: PLR0913  what, and on what
    config: TrainerConfig,
    model: ModelConfig,
    data: SiteData,
    held_out: Forecasts,
    released: Released,
    *,
    until: datetime | None,
) -> Champion:
    """What a released model says of the held-out days that it has not seen.

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
    made = run_in_blocks(open_session(released.content), inputs, "quantiles").astype(np.float64)
    return Champion(released.release, chosen, made, levels, manifest.metrics.get("pinball"))
