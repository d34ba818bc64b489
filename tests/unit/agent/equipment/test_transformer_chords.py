"""Chords of the heating curves: above the curves, by at most the error that the plan reckons with."""

from typing import Any

import numpy as np
import pytest

from ringmain_agent.equipment import transformer_thermal as thermal
from ringmain_agent.equipment.transformer_chords import chord_errors, segments
from ringmain_agent.site.nameplates import Cooling, Transformer


def unit(name: str = "t1", **change: Any) -> Transformer:
    return Transformer(name=name, **({"rated_power_kva": 400.0, "ambient_degc": 27.0} | change))


@pytest.mark.parametrize("cooling", Cooling)
@pytest.mark.parametrize("loading_max_pu", [1.0, 1.5, 1.8])
def test_chords_are_above_the_curves_by_at_most_their_error(cooling: Cooling, loading_max_pu: float) -> None:
    constants = thermal.constants(unit(cooling=cooling))
    errors, chords = chord_errors(constants, loading_max_pu), segments(constants, loading_max_pu)
    assert 0 < errors.top_oil_k <= errors.hot_spot_k < 0.3
    for loading in np.linspace(0, loading_max_pu, 997).tolist():
        left, oil, winding = loading, constants.oil(0.0), 0.0
        for chord in chords:
            filled = min(left, chord.width_pu)
            oil, winding, left = oil + filled * chord.oil_per_pu, winding + filled * chord.winding_per_pu, left - filled
        above_k = constants.top_oil_rise_k * (oil - constants.oil(loading))
        hot_k = above_k + constants.k21 * constants.hot_spot_rise_k * (winding - constants.winding(loading))
        assert -1e-9 <= above_k <= (errors.top_oil_k + 1e-3 if loading >= 0.5 else 1.8)
        assert -1e-9 <= hot_k <= (errors.hot_spot_k + 1e-3 if loading >= 0.5 else 1.8)
