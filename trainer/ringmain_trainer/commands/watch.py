"""`ringmain-trainer watch`: errors and inputs of the released models, and reasons to train again."""

import argparse
import logging
import signal
import threading
from typing import Final

from msgspec.structs import replace

from ringmain_program.command import EXIT_DONE, EXIT_FAILED, Clock, Outcome, write_result
from ringmain_program.config import ConfigError
from ringmain_trainer.commands.rows import as_rows
from ringmain_trainer.config.trainer import TrainerConfig
from ringmain_trainer.evaluation.watch import Watched, watch

log: Final = logging.getLogger("ringmain_trainer")


def run(config: TrainerConfig, options: argparse.Namespace, clock: Clock) -> Outcome:
    """Look until SIGTERM or SIGINT, or once; each look prints its own result.

    Raises:
        ConfigError: If no model is configured.
    """
    if not config.model:
        raise ConfigError(f"{options.config}: no [[model]]: there is nothing to watch")
    if options.every:
        config = replace(config, watch=replace(config.watch, every_s=options.every))
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())

    def print_look(results: list[Watched]) -> None:
        for one in results:
            if one.reasons:
                log.warning("drift site=%s signal=%s reasons=%s", one.site, one.signal, "; ".join(one.reasons))
        log.info("watched models=%d drifted=%d", len(results), sum(bool(one.reasons) for one in results))
        write_result(results, options.json, text=as_rows)

    results = watch(config, clock=clock, deliver=print_look, stop=stop, once=options.once, retrain=options.retrain)
    return Outcome(status=EXIT_DONE if results or not options.once else EXIT_FAILED)
