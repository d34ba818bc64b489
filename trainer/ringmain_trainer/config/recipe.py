"""The recipe: the part of the configuration that decides the models of one signal."""

from msgspec import Struct

from ringmain_trainer.config.estimators import EstimatorsConfig
from ringmain_trainer.config.trainer import ModelConfig, TrainerConfig, TrainingConfig


class Recipe(Struct, frozen=True, kw_only=True):
    """Signals, estimators, folds and quantiles of the models of one signal, the same at every site."""

    model: ModelConfig
    training: TrainingConfig = TrainingConfig()
    estimators: EstimatorsConfig = EstimatorsConfig()
    holidays: tuple[str, ...] = ()


def recipe_of(config: TrainerConfig, model: ModelConfig) -> Recipe:
    """The recipe of one of the configuration's models."""
    holidays = tuple(sorted(config.holidays))
    return Recipe(model=model, training=config.training, estimators=config.estimators, holidays=holidays)
