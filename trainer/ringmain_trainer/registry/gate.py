"""The gate: may a newly trained model take the place of the released one? Pure: forecasts in, a verdict out.

The challenger is the recipe on the held-out days: members fitted on the days before them, hyper-parameters and weights
chosen on folds before them, quantiles of each half calibrated on the other half. The champion is the released file, on the
held-out days after its training. The gate compares their pinball losses on the later half, whose calibration knew no later
day; with too few such days it compares the MAE of the medians, which no calibration moves, on all days. No score is in
sample. Days are paired: the mean losses of each day go into Wilcoxon's signed-rank test (exact).

In this order:

1. Clearly worse than seasonal persistence (the better of yesterday and last week): rejected.
2. Coverage of the outer quantiles clearly outside the band: rejected.
3. There is no champion that can be compared: promoted.
4. Fewer than `days_min` days that the champion has not seen: undecided. It waits; the next training takes its place and has
   more days. A person may release it all the same.
5. Better than the champion, by mean and beyond noise: promoted. Otherwise rejected: the champion stays.

A challenger that is not promoted may get a second look. The held-out days begin weeks ago, and the scored fit may know no
more than the champion: if the site has changed since, neither has learned it. If the champion has become worse since its
training by more than `second_look_share`, and `2 * days_min` days came after it, the recipe is fitted once more on all but
the newest `days_min` days and scored on these, with half of `alpha`. A model that is no better than the champion is promoted
with a probability of at most 1.5 times `alpha`.

"Clearly worse" means: by the test on at least `days_min` days or, with fewer, by more than `worse_share_max`. Coverage is
"clearly outside" if its mean over at least `days_min` days is, by more than its standard error times `coverage_errors`.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from ringmain_trainer.arrays import Values
from ringmain_trainer.calendar import DAY_S
from ringmain_trainer.config.evaluation import PromotionConfig
from ringmain_trainer.models.metrics import Forecasts, by_day, mean, pinball_losses

CHAMPION: Final = "champion"
CHALLENGER: Final = "challenger"
"""The released model, and the one that would take its place: recipes of a backtest, aliases in MLflow."""

_EXACT_DAYS_MAX: Final = 200


class Decision(StrEnum):
    """The gate's decision on a candidate."""

    PROMOTED = "promoted"
    REJECTED = "rejected"
    UNDECIDED = "undecided"


class Verdict(Struct, frozen=True, kw_only=True):
    """A decision with its reason and scores."""

    decision: Decision
    reason: str
    scores: dict[str, float] = {}


class Champion(NamedTuple):
    """Forecasts of the released model at the `chosen` ones of the held-out issue times: those after its training."""

    release: int
    chosen: NDArray[np.bool_]
    quantiles: Values
    levels: tuple[float, ...]
    loss_at_training: float | None = None


class Compared(NamedTuple):
    """Mean losses over the same days, and the probability of such a difference by chance, in either direction."""

    days: int
    loss: float
    other: float
    p_better: float
    p_worse: float

    @property
    def worse_share(self) -> float:
        """The excess over the other loss, as a share of it."""
        return self.loss / self.other - 1 if self.other > 0 else 0.0 if self.loss <= 0 else float("inf")


class _Covered(NamedTuple):
    """Mean coverage of some days, and its standard error."""

    days: int
    mean: float
    standard_error: float


def decide(  # noqa: PLR0913  two forecasters and the terms of their comparison
    challenger: Forecasts,
    champion: Champion | None,
    config: PromotionConfig,
    *,
    fair: NDArray[np.bool_] | None = None,
    note: str = "",
    looks: int = 1,
) -> Verdict:
    """Promote or reject the challenger, or leave it undecided.

    Args:
        challenger: The challenger's forecasts of the held-out days.
        champion: The released model's, if there is one that can be compared.
        config: Levels and bounds.
        fair: The challenger's forecasts to compare with the champion's: those calibrated on earlier days. All if not given.
        note: Why a released model cannot be compared; part of the reason.
        looks: Number of looks at the same question; each may err by chance, and gets its part of `alpha`.
    """
    naive, name = against_persistence(challenger)
    scores = {} if naive is None else _scores(naive, "persistence")
    covered = _coverage(challenger)
    scores |= {} if covered.days < 2 else {"coverage": covered.mean, "coverage_standard_error": covered.standard_error}
    against, measure = (None, "") if champion is None else _against_champion(challenger, champion, fair, config.days_min)
    if against is not None and champion is not None:
        scores |= _scores(against, "champion") | {"champion_release": float(champion.release)}
    reason = _unfit(naive, name, covered, challenger, config)
    if reason:
        return Verdict(decision=Decision.REJECTED, reason=reason, scores=scores)
    if against is None or champion is None:
        compared = "no persistence to compare with"
        if naive is not None:
            compared = f"MAE {naive.loss:.4g} against {naive.other:.4g} of persistence ({name}) on {naive.days} days"
        reason = f"{note or 'no model of this site and signal is released'}; {compared}"
        return Verdict(decision=Decision.PROMOTED, reason=reason, scores=scores)
    if against.days < config.days_min:
        reason = f"{against.days} days that release {champion.release} has not seen, {config.days_min} are needed to compare"
        return Verdict(decision=Decision.UNDECIDED, reason=reason, scores=scores)
    better = against.loss < against.other and against.p_better < config.alpha / looks
    reason = f"{'better' if better else 'not better beyond noise'} than release {champion.release}: {measure} "
    reason += f"{against.loss:.4g} against {against.other:.4g} on {against.days} days, p {against.p_better:.3g}"
    return Verdict(decision=Decision.PROMOTED if better else Decision.REJECTED, reason=reason, scores=scores)


def _unfit(naive: Compared | None, name: str, covered: _Covered, challenger: Forecasts, config: PromotionConfig) -> str:
    """Why the challenger may not be released, whatever the champion is; empty if it may."""
    if naive is not None and clearly_worse(naive, config):
        text = f"worse than persistence ({name}): MAE {naive.loss:.4g} against {naive.other:.4g} on {naive.days} days"
        return f"{text}, p {naive.p_worse:.3g}"
    nominal, slack = challenger.levels[-1] - challenger.levels[0], config.coverage_slack
    off = abs(covered.mean - nominal) - slack
    if covered.days >= config.days_min and off > config.coverage_errors * covered.standard_error:
        return f"{covered.mean:.0%} of the truth is between the outer quantiles: not {nominal:.0%} give or take {slack:.0%}"
    return ""


def second_look(
    challenger: Forecasts, champion: Champion, first: Verdict, config: PromotionConfig
) -> NDArray[np.bool_] | None:
    """The newest of the held-out forecasts, for a second look; None if there is no need of one, or too little data before.

    Args:
        challenger: The challenger's forecasts of the held-out days.
        champion: The released model's; `loss_at_training` is its mean pinball loss then.
        first: Verdict of the first look.
        config: Conditions of a second look.
    """
    if first.decision is Decision.PROMOTED or champion.loss_at_training is None:
        return None
    unseen = challenger.take(champion.chosen)
    losses = pinball_losses(champion.quantiles, unseen.actual, champion.levels).mean(axis=2)
    if len(by_day(losses, unseen.issued_at_s, challenger.step_s)) < 2 * config.days_min:
        return None
    if mean(losses) <= (1 + config.second_look_share) * champion.loss_at_training:
        return None
    newest: NDArray[np.bool_] = challenger.issued_at_s > challenger.issued_at_s[-1] - config.days_min * DAY_S
    return newest


def clearly_worse(compared: Compared, config: PromotionConfig) -> bool:
    """Whether the loss is larger: by the test with `days_min` days or more, else by `worse_share_max`."""
    if compared.loss <= compared.other:
        return False
    if compared.days >= config.days_min:
        return compared.p_worse < config.alpha
    return compared.worse_share > config.worse_share_max


def compare(loss: Mapping[int, float], other: Mapping[int, float]) -> Compared | None:
    """Compare losses by day with another's, on the days of both; None without such a day."""
    days = sorted(loss.keys() & other.keys())
    if not days:
        return None
    mine, theirs = np.array([loss[day] for day in days]), np.array([other[day] for day in days])
    difference = mine - theirs
    return Compared(
        len(days), float(mine.mean()), float(theirs.mean()), signed_rank_p(difference), signed_rank_p(-difference)
    )


def against_persistence(challenger: Forecasts) -> tuple[Compared | None, str]:
    """Compare the absolute errors of the median with the better persistence; also the name of that one."""
    error = np.abs(challenger.median - challenger.actual)
    pairs = [
        (_paired(challenger, error, np.abs(naive - challenger.actual)), name)
        for name, naive in challenger.persistence.items()
    ]
    known = [pair for pair in pairs if pair[0].days]
    return min(known, key=lambda one: one[0].other, default=(None, ""))


def signed_rank_p(differences: Values) -> float:
    """Probability of a signed-rank sum as low as this if the differences lay evenly around zero; small if they lie below.

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


def _against_champion(
    challenger: Forecasts, champion: Champion, fair: NDArray[np.bool_] | None, days_min: int
) -> tuple[Compared, str]:
    """Compare with the champion: pinball loss of the fair forecasts, else MAE of all medians; also the name of the loss."""
    both = champion.chosen if fair is None else champion.chosen & fair
    if champion.levels == challenger.levels:
        mine, theirs = challenger.take(both), champion.quantiles[both[champion.chosen]]
        losses = [pinball_losses(one, mine.actual, challenger.levels).mean(axis=2) for one in (mine.quantiles, theirs)]
        by_pinball = _paired(mine, *losses)
        if by_pinball.days >= days_min:
            return by_pinball, "pinball loss"
    mine, median = challenger.take(champion.chosen), champion.quantiles[:, :, champion.levels.index(0.5)]
    return _paired(mine, *(np.abs(one - mine.actual) for one in (mine.median, median))), "MAE"


def _paired(challenger: Forecasts, loss: Values, other: Values) -> Compared:
    """Compare losses by day, on the values of both."""
    known = np.isfinite(loss) & np.isfinite(other)
    mine, theirs = (by_day(np.where(known, one, np.nan), challenger.issued_at_s, challenger.step_s) for one in (loss, other))
    return compare(mine, theirs) or Compared(0, float("nan"), float("nan"), 1.0, 1.0)


def _coverage(challenger: Forecasts) -> _Covered:
    """Coverage of the outer quantiles by day."""
    wide = challenger.quantiles[:, :, 0] < challenger.quantiles[:, :, -1]  # PV at night is one value, without a band
    inside = (challenger.quantiles[:, :, 0] <= challenger.actual) & (challenger.actual <= challenger.quantiles[:, :, -1])
    seen = np.where(np.isfinite(challenger.actual) & wide, inside.astype(np.float64), np.nan)
    days = np.array(list(by_day(seen, challenger.issued_at_s, challenger.step_s).values()))
    if len(days) < 2:
        return _Covered(len(days), float("nan"), float("nan"))
    return _Covered(len(days), float(days.mean()), float(days.std(ddof=1) / np.sqrt(len(days))))


def _scores(compared: Compared, against: str) -> dict[str, float]:
    numbers: Sequence[tuple[str, float]] = (
        *(("days", compared.days), ("loss", compared.loss), ("loss_other", compared.other)),
        *(("p_better", compared.p_better), ("p_worse", compared.p_worse)),
    )
    return {f"{against}_{name}": float(value) for name, value in numbers if np.isfinite(value)}
