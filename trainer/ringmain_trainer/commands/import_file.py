"""`ringmain-trainer import`: a CSV or Parquet file to the history."""

import argparse
import logging
from typing import Final

from ringmain_program.command import Clock, Outcome
from ringmain_trainer.commands.rows import as_rows
from ringmain_trainer.config.trainer import TrainerConfig
from ringmain_trainer.imports.importer import import_file

log: Final = logging.getLogger("ringmain_trainer")


def run(config: TrainerConfig, options: argparse.Namespace, clock: Clock) -> Outcome:
    """Import a file; one that was imported before changes nothing."""
    result = import_file(
        options.file,
        history=config.history,
        step_s=config.training.step_s,
        now=clock(),
        mapping=options.mapping,
        site=options.site,
        time_zone=options.time_zone,
        local_time_zone=config.time_zone,
    )
    if all(one.imported_before for one in result):
        log.info("%s was imported before: nothing to do", options.file)
    return Outcome(result, text=as_rows)
