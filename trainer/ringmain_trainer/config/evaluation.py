"""Settings of backtest, gate and watch: `[backtest]`, `[promotion]`, `[drift]`, `[watch]`."""

from typing import Annotated

from msgspec import Meta, Struct

Days = Annotated[float, Meta(gt=0, le=366)]
Count = Annotated[int, Meta(ge=1, le=1000)]
Part = Annotated[float, Meta(gt=0, lt=1)]
Share = Annotated[float, Meta(gt=0, le=100)]


class BacktestConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Issue times of the forecasts, days between refits of the recipe, hours of a block of leads."""

    origins: Annotated[int, Meta(ge=1, le=100_000)] = 28
    every_h: Annotated[float, Meta(gt=0, le=744)] = 24.0
    at_h: Annotated[float, Meta(ge=0, lt=24)] = 6.0
    refit_days: Days = 7.0
    lead_block_h: Annotated[float, Meta(gt=0, le=744)] = 4.0


class PromotionConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bounds of the gate: for a challenger against the champion, and for any release."""

    alpha: Part = 0.05
    days_min: Annotated[int, Meta(ge=5, le=366)] = 7
    worse_share_max: Share = 0.1
    coverage_slack: Part = 0.1
    coverage_errors: Annotated[float, Meta(ge=0, le=10)] = 2.0
    second_look_share: Share = 0.1
    rejected_kept: Annotated[int, Meta(ge=0, le=1000)] = 5


class DriftConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bounds of drift: differences of the newest days from the training that are reasons to train again."""

    days: Days = 14.0
    days_min: Annotated[int, Meta(ge=5, le=366)] = 7
    error_share_max: Share = 0.3
    alpha: Part = 0.05
    coverage_slack: Part = 0.15
    psi_max: Annotated[float, Meta(gt=0, le=10)] = 0.25
    outside_share_max: Part = 0.1
    age_days_max: Annotated[float, Meta(gt=0, le=3660)] = 120.0


class WatchConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Seconds between looks, and days from one training of a model to the next at least."""

    every_s: Annotated[float, Meta(ge=1, le=2_678_400)] = 3600.0
    retrain_days_min: Days = 3.0
