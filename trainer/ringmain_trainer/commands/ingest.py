"""`ringmain-trainer ingest`: Kafka to the history."""

import argparse
import signal
import threading

from ringmain_program.command import Clock, Outcome
from ringmain_trainer.commands.rows import as_rows
from ringmain_trainer.config.trainer import TrainerConfig
from ringmain_trainer.history.ingest import ingest


def run(config: TrainerConfig, options: argparse.Namespace, _clock: Clock) -> Outcome:
    """Read until SIGTERM or SIGINT, or once to the end as it is now."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return Outcome(ingest(config, once=options.once, stop=stop), text=as_rows)
