"""`ringmain-trainer publish`: candidates to a release in the signed repository."""

import argparse
import logging
from typing import Final

from ringmain_program.command import Clock, Outcome
from ringmain_trainer.commands.rows import as_rows
from ringmain_trainer.config.trainer import TrainerConfig
from ringmain_trainer.release.publish import announce, publish
from ringmain_trainer.training.mlflow_tracking import record_release, require_mlflow

log: Final = logging.getLogger("ringmain_trainer")


def run(config: TrainerConfig, options: argparse.Namespace, clock: Clock) -> Outcome:
    """Publish, record the release, and announce it if asked to."""
    require_mlflow(config)
    release = publish(config, now=clock(), sites=options.site, force=options.force)
    log.info("published release=%d models=%d sites=%d", release.release, len(release.paths), len(release.sites))
    record_release(config, release.release)
    for path in release.forced:
        log.warning("released against the gate path=%s", path)
    if options.announce:
        host, port = options.announce
        count = announce(config, release.sites, host=host, port=port)
        log.info("announced release=%d sites=%d broker=%s:%d", release.release, count, host, port)
    return Outcome(release, text=as_rows)
