"""The gate: better beyond noise is promoted; what is unseen counts, and nothing that is clearly worse gets out."""

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringmain_trainer.config.evaluation import PromotionConfig
from ringmain_trainer.models.metrics import Forecasts
from ringmain_trainer.registry.gate import Champion, Decision, compare, decide, second_look, signed_rank_p

LEVELS = (0.1, 0.5, 0.9)
CONFIG = PromotionConfig()
DAY_S = 86400
NORMAL = 1.2816


def held_out(days: int = 21, *, error: float = 10, naive: float = 20, bias: float = 0, seed: int = 0) -> Forecasts:
    """Daily forecasts whose errors are normal, with a band that says so; persistence with errors of its own."""
    rng = np.random.default_rng(seed)
    truth = 1000 + 100 * np.sin(np.arange(96) / 96 * 2 * np.pi) + np.zeros((days, 1))
    median = truth + bias + rng.normal(0, error, truth.shape)
    band = np.stack([median - NORMAL * error, median, median + NORMAL * error], axis=2)
    yesterday, last_week = (truth + rng.normal(0, size, truth.shape) for size in (naive, 2 * naive))
    at = 20_000 * DAY_S + DAY_S * np.arange(days)
    return Forecasts(at, 900, LEVELS, band, truth, {"yesterday": yesterday, "last_week": last_week})


def champion_of(made: Forecasts, unseen: int, release: int = 3) -> Champion:
    chosen = np.arange(len(made.issued_at_s)) >= len(made.issued_at_s) - unseen
    return Champion(release, chosen, made.quantiles[chosen], made.levels)


def test_the_first_model_is_promoted_if_it_is_no_worse_than_persistence() -> None:
    verdict = decide(held_out(), None, CONFIG)
    assert verdict.decision is Decision.PROMOTED
    assert "no model of this site and signal is released" in verdict.reason
    assert "persistence (yesterday)" in verdict.reason
    assert verdict.scores["persistence_days"] == 21
    assert verdict.scores["persistence_loss"] < verdict.scores["persistence_loss_other"]


@pytest.mark.parametrize("champion", [False, True])
def test_nothing_clearly_worse_than_persistence_is_released(champion: bool) -> None:  # noqa: FBT001
    made = held_out(error=22, naive=20)
    verdict = decide(made, champion_of(held_out(error=60, seed=1), 21) if champion else None, CONFIG)
    assert verdict.decision is Decision.REJECTED
    assert verdict.reason.startswith("worse than persistence (yesterday): MAE 17.")


@pytest.mark.parametrize(("error", "decision"), [(20.5, Decision.PROMOTED), (26, Decision.REJECTED)])
def test_with_few_days_only_a_stated_share_is_clearly_worse(error: float, decision: Decision) -> None:
    assert decide(held_out(3, error=error, naive=20), None, CONFIG).decision is decision


def test_a_band_that_holds_too_little_is_rejected_and_one_day_of_chance_is_not() -> None:
    made = held_out()
    narrow = made.quantiles.copy()
    narrow[:, :, 0], narrow[:, :, 2] = narrow[:, :, 1] - 3, narrow[:, :, 1] + 3
    verdict = decide(made._replace(quantiles=narrow), None, CONFIG)
    assert verdict.decision is Decision.REJECTED
    assert "between the outer quantiles" in verdict.reason
    one_day = made.quantiles.copy()
    one_day[0] = narrow[0]
    assert decide(made._replace(quantiles=one_day), None, CONFIG).decision is Decision.PROMOTED


def test_a_better_challenger_is_promoted() -> None:
    verdict = decide(held_out(error=10), champion_of(held_out(error=14, seed=1), 10), CONFIG)
    assert verdict.decision is Decision.PROMOTED
    assert verdict.reason.startswith("better than release 3: pinball loss 2.")
    assert verdict.scores["champion_days"] == 10
    assert verdict.scores["champion_p_better"] < CONFIG.alpha


def test_one_that_is_not_better_beyond_noise_is_rejected() -> None:
    for seed in range(1, 6):
        verdict = decide(held_out(error=10), champion_of(held_out(error=10, seed=seed), 21), CONFIG)
        if verdict.decision is Decision.PROMOTED:
            assert verdict.scores["champion_p_better"] < CONFIG.alpha
        else:
            assert verdict.reason.startswith("not better beyond noise than release 3")
    assert decide(held_out(error=10), champion_of(held_out(error=10), 21), CONFIG).decision is Decision.REJECTED


def test_equal_models_are_promoted_about_as_often_as_the_test_says() -> None:
    promoted = sum(
        decide(held_out(14, seed=seed), champion_of(held_out(14, seed=10_000 + seed), 14), CONFIG).decision
        is Decision.PROMOTED
        for seed in range(200)
    )
    assert promoted <= 20  # 10 are expected at alpha 0.05


def test_too_few_unseen_days_are_no_verdict_but_a_bad_model_is_bad() -> None:
    verdict = decide(held_out(error=5), champion_of(held_out(error=14, seed=1), 6), CONFIG)
    assert verdict.decision is Decision.UNDECIDED
    assert verdict.reason == "6 days that release 3 has not seen, 7 are needed to compare"
    assert decide(held_out(error=5), champion_of(held_out(seed=1), 0), CONFIG).decision is Decision.UNDECIDED
    assert decide(held_out(error=30), champion_of(held_out(seed=1), 0), CONFIG).decision is Decision.REJECTED


def test_only_days_that_the_champion_has_not_seen_count() -> None:
    champion = held_out(error=14, seed=1)
    seen = champion.quantiles.copy()
    seen[:10] = champion.actual[:10, :, None]  # as if it knew these by heart
    chosen = np.arange(21) >= 10
    verdict = decide(held_out(), Champion(3, chosen, seen[chosen], LEVELS), CONFIG)
    assert verdict.scores["champion_days"] == 11
    assert verdict.decision is Decision.PROMOTED


def test_other_quantiles_are_compared_by_their_medians() -> None:
    other = held_out(error=14, seed=1)
    champion = Champion(3, np.ones(21, dtype=bool), other.quantiles[:, :, 1:2], (0.5,))
    verdict = decide(held_out(), champion, CONFIG)
    assert verdict.decision is Decision.PROMOTED
    assert verdict.scores["champion_loss"] == pytest.approx(8, abs=0.5)


def test_only_fair_forecasts_are_compared_by_pinball_loss_and_medians_where_they_are_too_few() -> None:
    made, champion = held_out(error=14, seed=1), champion_of(held_out(error=14, seed=2), 21)
    wide = made.quantiles.copy()
    wide[:11, :, 0], wide[:11, :, 2] = 0, 5000  # as if calibrated on something else
    made = made._replace(quantiles=wide)
    fair = np.arange(21) >= 11
    config = PromotionConfig(coverage_slack=0.5)
    verdict = decide(made, champion, config, fair=fair)
    assert verdict.scores["champion_days"] == 10
    assert ": pinball loss " in verdict.reason
    assert verdict.scores["champion_loss"] == pytest.approx(verdict.scores["champion_loss_other"], rel=0.1)
    few = decide(made, champion, config, fair=np.arange(21) >= 18)
    assert few.scores["champion_days"] == 21
    assert ": MAE 11." in few.reason


def test_a_second_look_is_for_a_champion_that_became_worse_and_has_enough_to_learn_from() -> None:
    made, other = held_out(error=14, seed=1), held_out(error=14, seed=2)
    first = decide(made, champion_of(other, 21), CONFIG)
    assert first.decision is Decision.REJECTED
    worse = champion_of(other, 21)._replace(loss_at_training=2.0)
    newest = second_look(made, worse, first, CONFIG)
    assert newest is not None
    assert newest.tolist() == [False] * 14 + [True] * 7
    as_before = worse._replace(loss_at_training=3.6)
    promoted = decide(held_out(error=10), champion_of(other, 21), CONFIG)
    few = champion_of(other, 13)._replace(loss_at_training=2.0)
    assert second_look(made, as_before, first, CONFIG) is None
    assert second_look(made, worse._replace(loss_at_training=None), first, CONFIG) is None
    assert second_look(made, worse, promoted, CONFIG) is None
    assert second_look(made, few, first, CONFIG) is None


def test_the_second_look_counts_at_half_of_alpha() -> None:
    for seed in range(60):
        made, champion = held_out(7, seed=seed), champion_of(held_out(7, error=10.3, seed=500 + seed), 7)
        once, twice = decide(made, champion, CONFIG), decide(made, champion, CONFIG, looks=2)
        p = once.scores["champion_p_better"]
        assert (once.decision is Decision.PROMOTED) == (p < 0.05)
        assert (twice.decision is Decision.PROMOTED) == (p < 0.025)


def test_gaps_count_for_nothing() -> None:
    made = held_out()
    gaps = made.actual.copy()
    gaps[::2] = np.nan
    verdict = decide(made._replace(actual=gaps), champion_of(held_out(error=14, seed=1), 21), CONFIG)
    assert verdict.scores["champion_days"] == 10
    nothing = made._replace(actual=np.full_like(gaps, np.nan))
    assert decide(nothing, None, CONFIG).decision is Decision.PROMOTED
    assert "no persistence to compare with" in decide(nothing, None, CONFIG).reason


def test_why_a_release_cannot_be_compared_is_in_the_reason() -> None:
    assert decide(held_out(), None, CONFIG, note="release 3 has another step").reason.startswith(
        "release 3 has another step;"
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 2.5]), max_size=9))
def test_the_signed_rank_test_counts_all_signs(differences: list[float]) -> None:
    d = np.array([one for one in differences if one])
    if not len(d):
        assert signed_rank_p(np.array(differences)) == 1
        return
    size = np.abs(d)
    ranks = np.array([(2 * (size < one).sum() + (size == one).sum() + 1) / 2 for one in size])
    sums: Any = [
        sum(rank for rank, sign in zip(ranks, signs, strict=True) if sign) for signs in product((0, 1), repeat=len(d))
    ]
    expected = np.mean(np.array(sums) <= ranks[d > 0].sum())
    assert signed_rank_p(np.array(differences)) == pytest.approx(expected)


def test_the_smallest_p_of_seven_days_is_below_the_limit() -> None:
    assert signed_rank_p(-np.arange(1.0, 8)) == pytest.approx(1 / 128)
    assert signed_rank_p(np.arange(1.0, 8)) == 1
    many = np.random.default_rng(0).normal(-1, 1, 150)
    assert 0 <= signed_rank_p(many) < 1e-6


def test_days_are_paired() -> None:
    found = compare({1: 1.0, 2: 2.0, 3: 9.0}, {2: 4.0, 3: 1.0, 4: 0.0})
    assert found is not None
    assert (found.days, found.loss, found.other) == (2, 5.5, 2.5)
    assert compare({1: 1.0}, {2: 1.0}) is None
