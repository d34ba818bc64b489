"""`ringmain-trainer report`: pages for people, one for each site and one for the fleet."""

import argparse
import logging
from typing import Final

from msgspec.structs import replace

from ringmain_program.command import EXIT_DONE, EXIT_FAILED, Clock, Outcome
from ringmain_trainer.commands.rows import as_rows
from ringmain_trainer.config.trainer import TrainerConfig
from ringmain_trainer.report.write_report import report

log: Final = logging.getLogger("ringmain_trainer")


def run(config: TrainerConfig, options: argparse.Namespace, clock: Clock) -> Outcome:
    """Write the pages; failed if there is not one."""
    if options.out:
        config = replace(config, report=replace(config.report, folder=str(options.out.resolve())))
    results = report(config, now=clock(), site=options.site)
    for result in results:
        if result.reason:
            log.warning("no report site=%s reason=%s", result.site, result.reason)
    if not results:
        log.error("no steps of any site in %s", config.history)
    log.info("wrote pages=%d folder=%s", len(results) + (options.site is None), config.report.folder)
    return Outcome(results, EXIT_DONE if any(not result.reason for result in results) else EXIT_FAILED, as_rows)
