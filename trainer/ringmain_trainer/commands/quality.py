"""`ringmain-trainer quality`: gaps, flat lines, spikes, wrong units, signs and clocks."""

import argparse
import logging
from typing import Final

from ringmain_program.command import EXIT_DONE, EXIT_FAILED, Clock, Outcome
from ringmain_trainer.commands.rows import as_rows
from ringmain_trainer.config.trainer import TrainerConfig
from ringmain_trainer.quality.site_quality import finding_rows, quality

log: Final = logging.getLogger("ringmain_trainer")


def run(config: TrainerConfig, options: argparse.Namespace, _clock: Clock) -> Outcome:
    """Check each site; failed if no site has any signal."""
    sites = sorted(quality(config, options.site, until=options.until), key=lambda one: str(one.site))
    for one in sites:
        log.info("checked site=%s steps=%d good=%.4f errors=%d", one.site, one.steps, one.good_share, one.errors)
    if not sites:
        log.error("no steps of any site in %s", config.history)
    status = EXIT_DONE if any(one.signals for one in sites) else EXIT_FAILED
    return Outcome(sites, status, lambda checked: as_rows(finding_rows(checked)))
