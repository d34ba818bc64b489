"""Blocks of all kinds of loads: one that does not follow stays where it is, and integers stand only where needed."""

from collections.abc import Callable

import numpy as np
import pytest

from support.one_load import MIDNIGHT_MS, OneLoad, charger, flexible, make_problem, on_off, room


@pytest.mark.parametrize("kind", [flexible, on_off, charger, room])
def test_a_load_that_does_not_follow_stays_where_it_is(kind: Callable[..., OneLoad]) -> None:
    """Also at a power beyond its nameplate, and afterwards it is planned as before."""
    load = kind(24)
    name = load.equipment.name
    before, _ = load.solve(make_problem(load.site, MIDNIGHT_MS), np.full(24, 0.1))
    stuck, _ = load.solve(make_problem(load.site, MIDNIGHT_MS, unresponsive_kw={name: 12.3}), np.full(24, 0.1))
    after, _ = load.solve(make_problem(load.site, MIDNIGHT_MS), np.full(24, 0.1))
    assert stuck == pytest.approx(np.full(24, 12.3))
    assert after == pytest.approx(before)


def test_integers_only_where_something_is_discrete() -> None:
    """Starts of an on/off load and loads without a least power need none."""
    assert [load.program.integer_count for load in (flexible(24), charger(24), room(24))] == [0, 0, 0]
    assert [load.program.integer_count for load in (flexible(24, power_min_kw=1.0), charger(24, power_min_kw=1.0))] == [
        24,
        24,
    ]
    assert on_off(24, run_min_h=2.0, starts_max=2).program.integer_count == 24
