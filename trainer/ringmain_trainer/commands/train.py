"""`ringmain-trainer train`: history to candidates."""

import argparse
import logging
from typing import Final

from ringmain_program.command import EXIT_DONE, EXIT_FAILED, Clock, Outcome
from ringmain_program.config import ConfigError
from ringmain_trainer.commands.rows import as_rows
from ringmain_trainer.config.trainer import TrainerConfig
from ringmain_trainer.training.mlflow_tracking import record_training, require_mlflow
from ringmain_trainer.training.train_fleet import train
from ringmain_trainer.training.train_site import persistence_beaten

log: Final = logging.getLogger("ringmain_trainer")


def run(config: TrainerConfig, options: argparse.Namespace, clock: Clock) -> Outcome:
    """Train every model of every site; failed if not one was trained.

    Raises:
        ConfigError: If no model is configured.
    """
    if not config.model:
        raise ConfigError(f"{options.config}: no [[model]]: there is nothing to train")
    require_mlflow(config)
    now = clock()
    results = train(config, now=now, until=options.until, resume=options.resume, dask=options.dask or "")
    record_training(config, results, now=now, until=options.until)
    for result in persistence_beaten(results):
        log.warning("worse than persistence on held-out days site=%s signal=%s", result.site, result.signal)
    if not results:
        log.error("no steps of any site in %s", config.history)
    return Outcome(results, EXIT_DONE if any(result.trained for result in results) else EXIT_FAILED, as_rows)
