"""The data of one site for one model: its steps and series from the history, with gaps where the quality rules object."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from ringmain_trainer.calendar import DAY_S
from ringmain_trainer.config.trainer import ModelConfig, QualityConfig, TrainerConfig, is_time_zone
from ringmain_trainer.history.site_reader import SeriesHistory, StepTable, read_series, read_steps, read_time_zone
from ringmain_trainer.quality.marks import Grid, masked, masked_counts, plausible
from ringmain_trainer.quality.rules import check


class SiteData(NamedTuple):
    """Steps and series of one site; `steps` has a column for each signal of the model's history.

    Values that the quality rules mark are gaps in `steps`. `masked` counts them by `signal.mark`.
    """

    site: str
    time_zone: str
    steps: StepTable
    series: dict[str, SeriesHistory]
    masked: dict[str, int] | None = None


def read_site(
    config: TrainerConfig, site: str, model: ModelConfig, *, until: datetime | None, since: datetime | None = None
) -> SiteData | None:
    """Read the newest `training.days_max` days of a site for a model; None if its target has no step."""
    step_s = config.training.step_s
    steps = read_steps(config.history, site, model.history, step_s, until, since)
    if steps is None:
        return None
    first = max(0, len(steps.values) - config.training.days_max * DAY_S // step_s)
    steps = StepTable(steps.start_s + first * step_s, steps.values[first:])
    zone = read_time_zone(config.history, site) or config.time_zone
    zone = zone if is_time_zone(zone) else config.time_zone
    series = read_series(config.history, site, model.series, until, since)
    return mask_marked(SiteData(site, zone, steps, series), model.history, step_s, config.quality)


def mask_marked(data: SiteData, signals: Sequence[str], step_s: int, quality: QualityConfig) -> SiteData:
    """The data with gaps in place of all values that the quality rules mark.

    Args:
        data: Steps and series as the site sent them.
        signals: Names of the columns of the steps.
        step_s: Length of a step.
        quality: Parameters of the rules, and the marks that make a gap.
    """
    checked = check(data.steps.values, signals, Grid(data.steps.start_s, step_s), quality)
    return data._replace(
        steps=StepTable(data.steps.start_s, masked(data.steps.values, checked, quality)),
        series={name: _plausible_series(name, history, quality) for name, history in data.series.items()},
        masked=masked_counts(checked.marks, signals, quality),
    )


def _plausible_series(name: str, history: SeriesHistory, quality: QualityConfig) -> SeriesHistory:
    return SeriesHistory(
        history.unit, [issue._replace(values=plausible(name, issue.values, quality)) for issue in history.issues]
    )
