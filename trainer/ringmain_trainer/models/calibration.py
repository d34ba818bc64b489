"""Conformal calibration: shifts of the quantiles, from the errors of a model on days that it had not seen.

The shift of a quantile is that quantile of the errors (truth less forecast) about their median: the bias of the model fitted
without the held-out days is not that of the model refitted on all.
"""

from typing import Final

import numpy as np

from ringmain_trainer.arrays import Floats, Values
from ringmain_trainer.features.examples import Window

_BLOCK_S: Final = 4 * 3600
"""Leads that share one shift."""
_VALUES_MIN: Final = 50
"""With fewer known values a block takes the shift of all leads."""


def conformal_shifts(curves: Values, truth: Values, window: Window, quantiles: tuple[float, ...]) -> Floats:
    """Shifts to add to curves `(N, horizon_steps, quantiles)`, by blocks of leads; `(horizon_steps, quantiles)`, float32.

    Args:
        curves: Forecasts for days that the model had not seen, quantiles in order.
        truth: Measured values, `(N, horizon_steps)`; NaN for gaps, which are not counted.
        window: Shape of the model.
        quantiles: Probabilities of the curves; the shift of 0.5 is zero.
    """
    errors = truth[:, :, None] - curves
    block = max(1, _BLOCK_S // window.step_s)
    shifts = np.zeros(curves.shape[1:], np.float32)
    everything = _shift(errors, quantiles)
    for first in range(0, window.horizon_steps, block):
        part = errors[:, first : first + block]
        enough = int(np.isfinite(part[:, :, 0]).sum()) >= _VALUES_MIN
        shifts[first : first + block] = _shift(part, quantiles) if enough else everything
    return shifts


def _shift(errors: Values, quantiles: tuple[float, ...]) -> Values:
    known = errors[np.isfinite(errors[:, :, 0])]
    if not len(known):
        return np.zeros(len(quantiles))
    n = len(known)
    # the finite-sample correction of split conformal prediction: outwards by the one value that is still to come
    levels = [
        min(q * (n + 1) / n, 1.0) if q > 0.5 else max((q * (n + 1) - 1) / n, 0.0) if q < 0.5 else 0.5 for q in quantiles
    ]
    taken: Values = np.array([np.quantile(known[:, i], level) for i, level in enumerate(levels)])
    about: Values = taken - taken[quantiles.index(0.5)]
    return about
