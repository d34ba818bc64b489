"""`ringmain-trainer history`: questions to the history, export, upkeep."""

import argparse
import logging
from typing import Final

import msgspec
import polars as pl

from ringmain_program.command import Clock, Outcome
from ringmain_trainer.commands.rows import as_rows
from ringmain_trainer.config.trainer import TrainerConfig
from ringmain_trainer.history.maintenance import compact, retain
from ringmain_trainer.history.query import Selection, answer_rows, export, query, select, summary
from ringmain_trainer.quality.site_quality import steps_checked

log: Final = logging.getLogger("ringmain_trainer")


def run(config: TrainerConfig, options: argparse.Namespace, clock: Clock) -> Outcome:
    """Answer the question of the options, or keep the history in order."""
    if options.compact or options.retain:
        done = retain(config.history, msgspec.structs.asdict(config.retention), clock())
        return Outcome(done + (compact(config.history) if options.compact else []), text=as_rows)
    chosen = Selection(site=options.site, signals=options.signal or None, since=options.since, until=options.until)
    if options.sql is None and options.table is None and options.export is None and chosen == Selection(site=options.site):
        tables = summary(config.history, site=options.site)
        if not tables:
            log.warning("%s holds nothing%s", config.history, f" of site {options.site}" if options.site else "")
        return Outcome(tables, text=as_rows)
    if options.sql is not None:
        views = _checked_view(config, chosen) if "steps_checked" in options.sql else {}
        answer = query(config.history, options.sql, chosen, views)
    else:
        answer = select(config.history, options.table or "steps", chosen)
    if options.export is not None:
        return Outcome(export(answer, options.export), text=as_rows)
    rows, more = answer_rows(answer)
    if more:
        log.warning("these are the first %d rows; --export FILE.parquet writes all", len(rows))
    return Outcome(rows, text=as_rows)


def _checked_view(config: TrainerConfig, chosen: Selection) -> dict[str, pl.LazyFrame]:
    sites = [] if chosen.site is None else [chosen.site]
    return {"steps_checked": steps_checked(config, sites, signals=chosen.signals, since=chosen.since, until=chosen.until)}
