"""The gate: whether a newly trained model may take the place of the one that runs. Pure: forecasts in, a verdict out.

What is scored is the recipe on the held-out days: members fitted on the days before them, hyper-parameters and weights
chosen on folds before them, quantiles of each half calibrated on the other half. The champion is its released file, scored
on those of the held-out days that came after its training. So no score is in sample. Days are paired: the mean loss of each
day on which values are valid, challenger against the other, by Wilcoxon's signed-rank test (exact).

In this order:

1. Clearly worse than seasonal persistence (the better of yesterday and last week): rejected.
2. Coverage of the outer quantiles clearly outside the band: rejected.
3. There is no champion that can be compared: promoted.
4. Fewer than `days_min` days that the champion has not seen: undecided. It waits; the next training takes its place and has
   more days. A person may release it all the same.
5. Better than the champion, by mean and beyond noise: promoted. Otherwise rejected: the champion stays.

Clearly worse is: by the test on at least `days_min` days, or, with fewer, by more than `worse_share_max`. Coverage is
clearly outside when the mean of at least `days_min` days is, by more than its standard error times `coverage_errors`.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from ringmain_trainer.evaluation_config import PromotionConfig
from ringmain_trainer.metrics import Forecasts, Values, by_day, pinball_losses

_EXACT_DAYS_MAX: Final = 200


class Decision(StrEnum):
    """What becomes of a candidate."""

    PROMOTED = "promoted"
    REJECTED = "rejected"
    UNDECIDED = "undecided"


class Verdict(Struct, frozen=True, kw_only=True):
    """A decision, why, and the scores that it was made from."""

    decision: Decision
    reason: str
    scores: dict[str, float] = {}


class Champion(NamedTuple):
    """What the model that runs said at those times of issue of the held-out forecasts that came after its training."""

    release: int
    chosen: NDArray[np.bool_]
    quantiles: Values
    levels: tuple[float, ...]


class Compared(NamedTuple):
    """Mean losses over the same days, and how likely a difference so large is by chance, in either direction."""

    days: int
    loss: float
    other: float
    p_better: float
    p_worse: float

    @property
    def worse_share(self) -> float:
        """By which share of the other's the loss is larger."""
        return self.loss / self.other - 1 if self.other > 0 else 0.0 if self.loss <= 0 else float("inf")


def decide(made: Forecasts, champion: Champion | None, config: PromotionConfig, *, note: str = "") -> Verdict:
    """Whether the challenger is promoted.

    Args:
        made: The challenger's forecasts of the held-out days.
        champion: The released model's, if there is one that can be compared.
        config: How strict.
        note: Why a released model cannot be compared; goes into the reason.
    """
    naive, name = against_persistence(made)
    scores = {} if naive is None else _scores(naive, "persistence")
    days, covered, uncertain = _coverage(made)
    nominal, slack = made.levels[-1] - made.levels[0], config.coverage_slack
    if days > 1:
        scores |= {"coverage": covered, "coverage_standard_error": uncertain}
    against = None if champion is None else _against_champion(made, champion)
    if against is not None and champion is not None:
        scores |= _scores(against, "champion") | {"champion_release": float(champion.release)}
    if naive is not None and clearly_worse(naive, config):
        text = f"worse than persistence ({name}): MAE {naive.loss:.4g} against {naive.other:.4g} on {naive.days} days"
        return Verdict(decision=Decision.REJECTED, reason=f"{text}, p {naive.p_worse:.3g}", scores=scores)
    if days >= config.days_min and abs(covered - nominal) - slack > config.coverage_errors * uncertain:
        text = f"{covered:.0%} of the truth is between the outer quantiles: not {nominal:.0%} give or take {slack:.0%}"
        return Verdict(decision=Decision.REJECTED, reason=text, scores=scores)
    if against is None or champion is None:
        text = note or "no model of this site and signal is released"
        if naive is None:
            return Verdict(decision=Decision.PROMOTED, reason=f"{text}; no persistence to compare with", scores=scores)
        text += f"; MAE {naive.loss:.4g} against {naive.other:.4g} of persistence ({name}) on {naive.days} days"
        return Verdict(decision=Decision.PROMOTED, reason=text, scores=scores)
    who = f"release {champion.release}"
    if against.days < config.days_min:
        text = f"{against.days} days that {who} has not seen, {config.days_min} are needed to compare"
        return Verdict(decision=Decision.UNDECIDED, reason=text, scores=scores)
    text = (
        f"than {who}: loss {against.loss:.4g} against {against.other:.4g} on {against.days} days, p {against.p_better:.3g}"
    )
    better = against.loss < against.other and against.p_better < config.alpha
    decision = Decision.PROMOTED if better else Decision.REJECTED
    return Verdict(decision=decision, reason=("better " if better else "not better beyond noise ") + text, scores=scores)


def clearly_worse(compared: Compared, config: PromotionConfig) -> bool:
    """By the test where there are days enough for one, otherwise by a stated share."""
    if compared.loss <= compared.other:
        return False
    if compared.days >= config.days_min:
        return compared.p_worse < config.alpha
    return compared.worse_share > config.worse_share_max


def compare(loss: Mapping[int, float], other: Mapping[int, float]) -> Compared | None:
    """Losses by day against another's, on the days that both have; None if there are none."""
    days = sorted(loss.keys() & other.keys())
    if not days:
        return None
    mine, theirs = np.array([loss[day] for day in days]), np.array([other[day] for day in days])
    difference = mine - theirs
    return Compared(
        len(days), float(mine.mean()), float(theirs.mean()), signed_rank_p(difference), signed_rank_p(-difference)
    )


def against_persistence(made: Forecasts) -> tuple[Compared | None, str]:
    """Absolute errors of the median against the better persistence, on the values that both have; which that is."""
    error = np.abs(made.median - made.actual)
    found: list[tuple[Compared, str]] = []
    for name, said in made.persistence.items():
        missed = np.abs(said - made.actual)
        both = np.isfinite(missed) & np.isfinite(error)
        mine, theirs = (by_day(np.where(both, one, np.nan), made.issued_at_s, made.step_s) for one in (error, missed))
        compared = compare(mine, theirs)
        if compared is not None:
            found.append((compared, name))
    return min(found, key=lambda one: one[0].other, default=(None, ""))


def signed_rank_p(differences: Values) -> float:
    """How likely a signed-rank sum so low is if the differences lie around zero evenly: small when they are below it.

    Wilcoxon's test, one-sided and exact: all 2^n signs are counted. Differences of zero are left out, ties share their rank.
    """
    d = differences[np.isfinite(differences) & (differences != 0)][-_EXACT_DAYS_MAX:]
    if not len(d):
        return 1.0
    size = np.abs(d)
    below = np.searchsorted(np.sort(size), size, side="left")
    ranks = below + np.searchsorted(np.sort(size), size, side="right") + 1  # twice the mean rank: a whole number
    ways = np.zeros(int(ranks.sum()) + 1)
    ways[0] = 1.0
    for rank in ranks:
        ways[rank:] = ways[rank:] + ways[: len(ways) - rank]
        ways /= 2
    return float(min(1.0, ways[: int(ranks[d > 0].sum()) + 1].sum()))


def _against_champion(made: Forecasts, champion: Champion) -> Compared:
    """Mean pinball loss against the champion's; MAE of the medians if the levels are not the same."""
    mine, theirs = made.take(champion.chosen), champion.quantiles
    if champion.levels == made.levels:
        losses = [pinball_losses(one, mine.actual, made.levels).mean(axis=2) for one in (mine.quantiles, theirs)]
    else:
        losses = [np.abs(one - mine.actual) for one in (mine.median, theirs[:, :, champion.levels.index(0.5)])]
    both = np.isfinite(losses[0]) & np.isfinite(losses[1])
    days = [by_day(np.where(both, one, np.nan), mine.issued_at_s, made.step_s) for one in losses]
    found = compare(*days)
    return Compared(0, float("nan"), float("nan"), 1.0, 1.0) if found is None else found


def _coverage(made: Forecasts) -> tuple[int, float, float]:
    """Days, mean coverage of the days and its standard error."""
    inside = (made.quantiles[:, :, 0] <= made.actual) & (made.actual <= made.quantiles[:, :, -1])
    wide = made.quantiles[:, :, 0] < made.quantiles[:, :, -1]  # PV at night is one value, and says nothing of the band
    seen = np.where(np.isfinite(made.actual) & wide, inside.astype(np.float64), np.nan)
    days = np.array(list(by_day(seen, made.issued_at_s, made.step_s).values()))
    if len(days) < 2:
        return len(days), float("nan"), float("nan")
    return len(days), float(days.mean()), float(days.std(ddof=1) / np.sqrt(len(days)))


def _scores(compared: Compared, against: str) -> dict[str, float]:
    numbers: Sequence[tuple[str, float]] = (
        *(("days", compared.days), ("loss", compared.loss), ("loss_other", compared.other)),
        *(("p_better", compared.p_better), ("p_worse", compared.p_worse)),
    )
    return {f"{against}_{name}": float(value) for name, value in numbers if np.isfinite(value)}
