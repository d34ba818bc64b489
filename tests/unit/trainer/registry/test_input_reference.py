"""The reference of an input: shares add up, the training itself is stable, and months are those of the calendar."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringmain_trainer.registry.input_reference import bin_shares, months_of, population_stability, reference_of

DAY_S = 86400
YEAR_S = 1_577_836_800  # 2020-01-01T00:00:00Z
SPAN_DAYS = 14.0


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 400))
def test_shares_add_up_and_those_of_training_itself_are_stable(seed: int, kinds: int) -> None:
    rng = np.random.default_rng(seed)
    values, at_s = rng.integers(0, kinds, 700).astype(np.float64), YEAR_S + 3600 * np.arange(700)
    reference = reference_of(values, at_s, SPAN_DAYS)
    assert reference is not None
    shares = bin_shares(values, months_of(at_s), reference)
    assert shares.sum() == pytest.approx(1)
    assert 0 <= population_stability(shares) < (0.02 if kinds > 50 else 3)
    assert bin_shares(values[:0], months_of(at_s[:0]), reference).sum() == 0


def test_months_are_those_of_the_calendar() -> None:
    assert months_of(np.array([YEAR_S, YEAR_S + 31 * DAY_S - 1, YEAR_S + 31 * DAY_S, YEAR_S - 1])).tolist() == [1, 1, 2, 12]


def test_a_season_is_a_month_with_its_neighbors() -> None:
    """January to March are also in the seasons of December and April, and of no other month."""
    at_s = YEAR_S + 3600 * np.arange(90 * 24)
    reference = reference_of(np.sin(at_s / 40_000), at_s, SPAN_DAYS)
    assert reference is not None
    assert sorted(reference.months) == [1, 2, 3, 4, 12]
    assert all(len(edges) == 11 for edges in reference.months.values())


def test_an_input_without_values_has_no_reference() -> None:
    assert reference_of(np.full(1000, np.nan), YEAR_S + np.arange(1000), SPAN_DAYS) is None
