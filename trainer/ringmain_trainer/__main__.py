"""Kafka to history, history to models, models to agents: `ringmain-trainer COMMAND`, one step of the flow each."""

import argparse
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final

from ringmain_program.command import EXIT_FAILED, Clock, Outcome, finish, load, run_program
from ringmain_trainer.arguments import parser
from ringmain_trainer.config.trainer import TrainerConfig, load_config
from ringmain_trainer.errors import TrainerError

COMMANDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "ingest": "ringmain_trainer.commands.ingest:run",
        "import": "ringmain_trainer.commands.import_file:run",
        "history": "ringmain_trainer.commands.history:run",
        "quality": "ringmain_trainer.commands.quality:run",
        "train": "ringmain_trainer.commands.train:run",
        "backtest": "ringmain_trainer.commands.backtest:run",
        "analyse": "ringmain_trainer.commands.analyse:run",
        "report": "ringmain_trainer.commands.report:run",
        "publish": "ringmain_trainer.commands.publish:run",
        "repository": "ringmain_trainer.commands.repository:run",
        "watch": "ringmain_trainer.commands.watch:run",
    }
)
log: Final = logging.getLogger("ringmain_trainer")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit status: 0 done, 1 failed, 2 wrong usage, 78 a configuration that a person must mend."""
    return run_program(lambda: _run(arguments), extra="trainer")


def _run(arguments: Sequence[str] | None) -> int:
    options = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s trainer %(message)s")
    config = load_config(options.config, kafka=options.kafka, history=options.history)
    command: Callable[[TrainerConfig, argparse.Namespace, Clock], Outcome] = load(COMMANDS[options.command])
    try:
        outcome = command(config, options, _now)
    except TrainerError as error:
        log.error("%s failed: %s", options.command, error)  # noqa: TRY400  the text says all
        return EXIT_FAILED
    return finish(outcome, options.json)


def _now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251  the one look at the clock


if __name__ == "__main__":
    sys.exit(main())
