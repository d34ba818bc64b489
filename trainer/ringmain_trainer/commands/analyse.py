"""`ringmain-trainer analyse`: unusual days and hours, kinds of days, risk of violations."""

import argparse
import logging
from typing import Final

from ringmain_program.command import EXIT_DONE, EXIT_FAILED, Clock, Outcome
from ringmain_program.config import ConfigError
from ringmain_trainer.analysis.analyse import analyse, result_rows
from ringmain_trainer.commands.rows import as_rows
from ringmain_trainer.config.trainer import TrainerConfig

log: Final = logging.getLogger("ringmain_trainer")


def run(config: TrainerConfig, options: argparse.Namespace, clock: Clock) -> Outcome:
    """Analyse each site and signal; failed if nothing could be done.

    Raises:
        ConfigError: If no model is configured.
    """
    if not config.model:
        raise ConfigError(f"{options.config}: no [[model]]: there is nothing to analyse")
    results = []
    for one in analyse(config, options.site, now=clock(), until=options.until, dask=options.dask or ""):
        results.append(one)
        if one.done:
            log.info("analysed site=%s signal=%s kind=%s fit_s=%.1f", one.site, one.signal, one.kind, one.fit_s)
        else:
            log.warning("nothing site=%s signal=%s kind=%s reason=%s", one.site, one.signal, one.kind, one.reason)
    if not results:
        log.error("no steps of any site in %s", config.history)
    results.sort(key=lambda one: (one.site, one.signal))
    status = EXIT_DONE if any(one.done for one in results) else EXIT_FAILED
    return Outcome(results, status, lambda done: as_rows(result_rows(done)))
