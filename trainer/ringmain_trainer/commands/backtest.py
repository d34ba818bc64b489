"""`ringmain-trainer backtest`: recipes side by side, each with the knowledge of its time."""

import argparse
import logging
from typing import Final

from msgspec.structs import replace

from ringmain_program.command import EXIT_DONE, EXIT_FAILED, Clock, Outcome
from ringmain_program.config import ConfigError
from ringmain_trainer.commands.rows import as_rows
from ringmain_trainer.config.trainer import TrainerConfig
from ringmain_trainer.evaluation.backtest import backtest

log: Final = logging.getLogger("ringmain_trainer")


def run(config: TrainerConfig, options: argparse.Namespace, clock: Clock) -> Outcome:
    """Score every recipe; failed if there is not one forecast.

    Raises:
        ConfigError: If no model is configured.
    """
    if not config.model:
        raise ConfigError(f"{options.config}: no [[model]]: there is no recipe to test")
    if options.origins:
        config = replace(config, backtest=replace(config.backtest, origins=options.origins))
    result = backtest(config, now=clock(), sites=options.site, signals=options.signal)
    for line in result.lines:
        if line.reason:
            log.warning("not scored site=%s signal=%s recipe=%s reason=%s", line.site, line.signal, line.recipe, line.reason)
    if options.out:
        result.forecasts.write_parquet(options.out)
        log.info("wrote forecasts=%d file=%s", len(result.forecasts), options.out)
    return Outcome(result.lines, EXIT_DONE if len(result.forecasts) else EXIT_FAILED, as_rows)
