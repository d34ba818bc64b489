"""Calibration: the shifts of the quantiles are those of the errors about their median, by blocks of leads."""

import numpy as np

from ringmain_trainer.features.examples import Window
from ringmain_trainer.models.calibration import conformal_shifts

WINDOW = Window(900, 768, 96)


def test_the_spread_is_taken_about_the_median() -> None:
    truth = np.random.default_rng(0).normal(50, 2, size=(200, 96))
    truth[0] = np.nan
    offsets = conformal_shifts(np.zeros((200, 96, 3)), truth, WINDOW, (0.1, 0.5, 0.9))
    assert offsets.shape == (96, 3)
    assert (offsets[:, 1] == 0).all()
    np.testing.assert_allclose(offsets[:, 2], 2 * 1.28, atol=0.2)
    assert len(np.unique(offsets[:16, 2])) == 1
    assert len(np.unique(offsets[:, 2])) == 6


def test_a_bias_of_the_median_is_not_shifted() -> None:
    """The bias of the fit without the held-out days is not that of the fit on all days."""
    truth = np.random.default_rng(0).normal(50, 2, size=(200, 96))
    shifts = [conformal_shifts(np.full((200, 96, 3), level), truth, WINDOW, (0.1, 0.5, 0.9)) for level in (0.0, 30.0)]
    np.testing.assert_allclose(shifts[0], shifts[1], atol=1e-5)


def test_without_a_known_value_nothing_is_shifted() -> None:
    nothing = np.full((10, 96), np.nan)
    assert not conformal_shifts(np.zeros((10, 96, 3)), nothing, WINDOW, (0.1, 0.5, 0.9)).any()
