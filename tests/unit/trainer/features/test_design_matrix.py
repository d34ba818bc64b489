"""The design matrix in order of time: held-out days and folds share no target with the forecasts before them."""

import numpy as np
import pytest

from ringmain_trainer.config.trainer import TrainingConfig
from ringmain_trainer.features.design_matrix import held_out, time_folds
from ringmain_trainer.features.examples import Examples, Window

WINDOW = Window(900, 768, 96)
TRAINING = TrainingConfig()


def forecasts_at(count: int) -> Examples:
    """Examples issued every 13 quarter-hours."""
    issued_at_s = 1_600_000_200 + 13 * 900 * np.arange(count)
    return Examples({"issued_at_s": issued_at_s}, np.zeros((count, 96), np.float32))


def test_targets_of_held_out_forecasts_are_seen_by_no_other() -> None:
    examples = forecasts_at(60)
    early, late = held_out(examples, WINDOW, TRAINING)
    assert early.any()
    assert late.any()
    assert not (early & late).any()
    assert examples.issued_at_s[early].max() + 96 * 900 <= examples.issued_at_s[late].min()


@pytest.mark.parametrize(("forecasts", "days_max"), [(60, 0.25 * 59 * 13 / 96), (1000, 21)])
def test_at_most_the_share_and_the_days_are_held_out(forecasts: int, days_max: float) -> None:
    examples = forecasts_at(forecasts)
    _, late = held_out(examples, WINDOW, TRAINING)
    assert 0.9 * days_max < np.ptp(examples.issued_at_s[late]) / 86400 <= days_max


@pytest.mark.parametrize("count", [1, 3, 8])
def test_folds_are_in_order_of_time_with_a_horizon_between_fit_and_score(count: int) -> None:
    at = forecasts_at(120).issued_at_s
    folds = time_folds(at, WINDOW, count)
    assert len(folds) == count
    for fold in folds:
        assert at[fold.train - 1] + 96 * 900 <= at[fold.first]
        assert at[fold.train] + 96 * 900 > at[fold.first]  # no more is left out than must be
    assert [fold.first for fold in folds[1:]] == [fold.last for fold in folds[:-1]]
    assert folds[-1].last == len(at)
    assert time_folds(at[:12], WINDOW, count) == []
