"""`ringmain-trainer repository`: make the signed repository, or keep it fresh."""

import argparse
import logging
from pathlib import Path
from typing import Final

from ringmain_program.command import Clock, Outcome
from ringmain_trainer.commands.rows import as_rows
from ringmain_trainer.config.trainer import TrainerConfig
from ringmain_trainer.release.publish import refresh
from ringmain_trainer.release.tuf_repository import create_repository, renew_root

log: Final = logging.getLogger("ringmain_trainer")


def run(config: TrainerConfig, options: argparse.Namespace, clock: Clock) -> Outcome:
    """Make it, sign it again, or renew its root."""
    folder, keys = Path(config.repository), Path(config.keys)
    result: dict[str, str | int] = {"repository": config.repository, "root": str(folder / "metadata" / "1.root.json")}
    if options.action == "init":
        create_repository(folder, keys, clock())
        log.info("repository=%s keys=%s: keep root-*.pem and targets.pem offline", folder, keys)
    elif options.action == "renew-root":
        result["root_version"] = renew_root(folder, keys, clock())
    else:
        refresh(config, now=clock())
    return Outcome(result, text=as_rows)
