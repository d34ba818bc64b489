"""Settings of the estimators, one table each: `[estimators.<name>]`. The keys are scikit-learn's.

A list is a grid: the best of all combinations on time-ordered folds is taken, therefore keep lists short. A single value is
fixed. At most `rows_max` target values are fitted on, drawn evenly with a fixed seed.
"""

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

EstimatorName = Literal["ridge", "hist_gradient_boosting", "random_forest", "gradient_boosting", "extra_trees", "mlp"]

Count = Annotated[int, Meta(ge=1, le=100_000)]
Positive = Annotated[float, Meta(gt=0)]
NotNegative = Annotated[float, Meta(ge=0)]
PartOf = Annotated[float, Meta(gt=0, le=1)]
Counts = Annotated[tuple[Count, ...], Meta(min_length=1)]
Positives = Annotated[tuple[Positive, ...], Meta(min_length=1)]
NotNegatives = Annotated[tuple[NotNegative, ...], Meta(min_length=1)]
Rows = Annotated[int, Meta(ge=1_000, le=100_000_000)]


class RidgeConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Linear in all features, scaled; the default. It is fitted on every row: all penalties cost one decomposition."""

    alpha: Positives = (30.0, 300.0, 1000.0, 3000.0, 10000.0)


class HistGradientBoostingConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Trees by histograms, one set for each quantile. More than one seed needs `max_features` below 1."""

    max_iter: Counts = (150,)
    learning_rate: Positives = (0.06,)
    max_leaf_nodes: Counts = (15,)
    min_samples_leaf: Counts = (40,)
    l2_regularization: NotNegatives = (1.0,)
    max_features: PartOf = 1.0
    seeds: Annotated[int, Meta(ge=1, le=10)] = 1
    rows_max: Rows = 100_000

    def __post_init__(self) -> None:
        if self.seeds > 1 and self.max_features == 1:
            raise ValueError("seeds differ only if max_features is below 1")


class RandomForestConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A forest for the median; the quantiles come from its errors on held-out days."""

    n_estimators: Count = 50
    min_samples_leaf: Counts = (5,)
    max_leaf_nodes: Count = 500
    max_features: PartOf = 0.4
    seeds: Annotated[int, Meta(ge=1, le=10)] = 1
    rows_max: Rows = 30_000


class ExtraTreesConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A forest with random thresholds for the median; the quantiles come from its errors on held-out days."""

    n_estimators: Count = 50
    min_samples_leaf: Counts = (3,)
    max_leaf_nodes: Count = 1000
    max_features: PartOf = 0.6
    seeds: Annotated[int, Meta(ge=1, le=10)] = 1
    rows_max: Rows = 50_000


class GradientBoostingConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Trees one after the other, exact thresholds, one set for each quantile; slow."""

    n_estimators: Count = 100
    learning_rate: Positives = (0.1,)
    max_depth: Counts = (4,)
    min_samples_leaf: Count = 20
    subsample: PartOf = 0.5
    max_features: PartOf = 0.3
    seeds: Annotated[int, Meta(ge=1, le=10)] = 1
    rows_max: Rows = 15_000


class MlpConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A small neural network for the median, features and target scaled; quantiles from its errors on held-out days."""

    hidden_layer_sizes: Annotated[tuple[Annotated[tuple[Count, ...], Meta(min_length=1)], ...], Meta(min_length=1)] = (
        (32,),
    )
    alpha: NotNegatives = (0.001,)
    learning_rate_init: Positive = 0.002
    epochs: Count = 15
    batch_size: Count = 256
    seeds: Annotated[int, Meta(ge=1, le=10)] = 1
    rows_max: Rows = 50_000


class EstimatorsConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table for each estimator."""

    ridge: RidgeConfig = RidgeConfig()
    hist_gradient_boosting: HistGradientBoostingConfig = HistGradientBoostingConfig()
    random_forest: RandomForestConfig = RandomForestConfig()
    extra_trees: ExtraTreesConfig = ExtraTreesConfig()
    gradient_boosting: GradientBoostingConfig = GradientBoostingConfig()
    mlp: MlpConfig = MlpConfig()


FIXED: Final = ("seeds", "rows_max", "epochs")
"""Keys that are not scikit-learn's."""
