"""Command line of the trainer: `ringmain-trainer COMMAND`; each command is one step from Kafka to a signed release."""

import argparse
import logging
import signal
import sys
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from ringmain_toml import EXIT_CONFIG, ConfigError
from ringmain_trainer.arguments import parser

EXIT_FAILED: Final = 1
log: Final = logging.getLogger("ringmain_trainer")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit status: 0 done, 1 failed, 2 wrong usage, 78 a configuration that a person must mend."""
    options = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s trainer %(message)s")
    try:
        return _run(options)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EXIT_CONFIG
    except ImportError as error:
        if str(error.name).startswith("ringmain"):
            raise
        print(f"{error.name} is not installed: pip install 'ringmain[trainer]'", file=sys.stderr)
        return EXIT_FAILED


def _run(options: argparse.Namespace) -> int:
    from ringmain_trainer.config.trainer import load_config  # noqa: PLC0415  a missing extra is said in main()
    from ringmain_trainer.errors import TrainerError  # noqa: PLC0415

    config = load_config(options.config, kafka=options.kafka, history=options.history)
    commands = {"ingest": _ingest, "train": _train, "publish": _publish, "repository": _repository, "history": _history}
    commands["report"] = _report
    commands["quality"] = _quality
    commands["import"] = _import
    commands["analyse"] = _analyse
    commands["backtest"] = _backtest
    commands["watch"] = _watch
    try:
        result, status = commands[options.command](config, options)
    except TrainerError as error:
        log.error("%s failed: %s", options.command, error)  # noqa: TRY400  the text says all
        return EXIT_FAILED
    if result is not None:
        _print_result(result, options.json)
    return status


def _ingest(config: Any, options: argparse.Namespace) -> tuple[Any, int]:  # noqa: ANN401
    from ringmain_trainer.history.ingest import ingest  # noqa: PLC0415

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return ingest(config, once=options.once, stop=stop), 0


def _train(config: Any, options: argparse.Namespace) -> tuple[Any, int]:  # noqa: ANN401
    from ringmain_trainer.training.mlflow_tracking import record_training, require_mlflow  # noqa: PLC0415
    from ringmain_trainer.training.train_fleet import train  # noqa: PLC0415
    from ringmain_trainer.training.train_site import persistence_beaten  # noqa: PLC0415

    if not config.model:
        raise ConfigError(f"{options.config}: no [[model]]: there is nothing to train")
    require_mlflow(config)
    now = _now()
    results = train(config, now=now, until=options.until, resume=options.resume, dask=options.dask or "")
    record_training(config, results, now=now, until=options.until)
    for result in persistence_beaten(results):
        log.warning("worse than persistence on held-out days site=%s signal=%s", result.site, result.signal)
    if not results:
        log.error("no steps of any site in %s", config.history)
    return results, 0 if any(result.trained for result in results) else EXIT_FAILED


def _quality(config: Any, options: argparse.Namespace) -> tuple[Any, int]:  # noqa: ANN401
    from ringmain_trainer.quality.site_quality import finding_rows, quality  # noqa: PLC0415

    sites = sorted(quality(config, options.site, until=options.until), key=lambda one: str(one.site))
    for one in sites:
        log.info("checked site=%s steps=%d good=%.4f errors=%d", one.site, one.steps, one.good_share, one.errors)
    if not sites:
        log.error("no steps of any site in %s", config.history)
    failed = not any(one.signals for one in sites)
    return sites if options.json else finding_rows(sites), EXIT_FAILED if failed else 0


def _analyse(config: Any, options: argparse.Namespace) -> tuple[Any, int]:  # noqa: ANN401
    from ringmain_trainer.analysis.analyse import analyse, result_rows  # noqa: PLC0415

    if not config.model:
        raise ConfigError(f"{options.config}: no [[model]]: there is nothing to analyse")
    results = []
    for one in analyse(config, options.site, now=_now(), until=options.until, dask=options.dask or ""):
        results.append(one)
        if one.done:
            log.info("analysed site=%s signal=%s kind=%s fit_s=%.1f", one.site, one.signal, one.kind, one.fit_s)
        else:
            log.warning("nothing site=%s signal=%s kind=%s reason=%s", one.site, one.signal, one.kind, one.reason)
    if not results:
        log.error("no steps of any site in %s", config.history)
    results.sort(key=lambda one: (one.site, one.signal))
    return results if options.json else result_rows(results), 0 if any(one.done for one in results) else EXIT_FAILED


def _backtest(config: Any, options: argparse.Namespace) -> tuple[Any, int]:  # noqa: ANN401
    from ringmain_trainer.evaluation.backtest import backtest  # noqa: PLC0415

    if not config.model:
        raise ConfigError(f"{options.config}: no [[model]]: there is no recipe to test")
    if options.origins:
        settings = msgspec.structs.replace(config.backtest, origins=options.origins)
        config = msgspec.structs.replace(config, backtest=settings)
    result = backtest(config, now=_now(), sites=options.site, signals=options.signal)
    for line in result.lines:
        if line.reason:
            log.warning("not scored site=%s signal=%s recipe=%s reason=%s", line.site, line.signal, line.recipe, line.reason)
    if options.out:
        result.forecasts.write_parquet(options.out)
        log.info("wrote forecasts=%d file=%s", len(result.forecasts), options.out)
    return result.lines, 0 if len(result.forecasts) else EXIT_FAILED


def _watch(config: Any, options: argparse.Namespace) -> tuple[Any, int]:  # noqa: ANN401
    from ringmain_trainer.evaluation.watch import Watched, watch  # noqa: PLC0415

    if not config.model:
        raise ConfigError(f"{options.config}: no [[model]]: there is nothing to watch")
    if options.every:
        config = msgspec.structs.replace(config, watch=msgspec.structs.replace(config.watch, every_s=options.every))
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())

    def told(results: list[Watched]) -> None:
        for one in results:
            if one.reasons:
                log.warning("drift site=%s signal=%s reasons=%s", one.site, one.signal, "; ".join(one.reasons))
        log.info("watched models=%d drifted=%d", len(results), sum(bool(one.reasons) for one in results))
        _print_result(results, options.json)

    results = watch(config, clock=_now, told=told, stop=stop, once=options.once, retrain=options.retrain)
    return None, 0 if results or not options.once else EXIT_FAILED


def _publish(config: Any, options: argparse.Namespace) -> tuple[Any, int]:  # noqa: ANN401
    from ringmain_trainer.release.publish import announce, publish  # noqa: PLC0415
    from ringmain_trainer.training.mlflow_tracking import record_release, require_mlflow  # noqa: PLC0415

    require_mlflow(config)
    release = publish(config, now=_now(), sites=options.site, force=options.force)
    log.info("published release=%d models=%d sites=%d", release.release, len(release.paths), len(release.sites))
    record_release(config, release.release)
    for path in release.forced:
        log.warning("released against the gate path=%s", path)
    if options.announce:
        host, port = options.announce
        count = announce(config, release.sites, host=host, port=port)
        log.info("announced release=%d sites=%d broker=%s:%d", release.release, count, host, port)
    return release, 0


def _repository(config: Any, options: argparse.Namespace) -> tuple[Any, int]:  # noqa: ANN401
    from ringmain_trainer.release.publish import refresh  # noqa: PLC0415
    from ringmain_trainer.release.tuf_repository import create_repository, renew_root  # noqa: PLC0415

    now, folder, keys = _now(), Path(config.repository), Path(config.keys)
    result: dict[str, Any] = {"repository": config.repository, "root": str(folder / "metadata" / "1.root.json")}
    if options.action == "init":
        create_repository(folder, keys, now)
        log.info("repository=%s keys=%s: keep root-*.pem and targets.pem offline", folder, keys)
    elif options.action == "renew-root":
        result["root_version"] = renew_root(folder, keys, now)
    else:
        refresh(config, now=now)
    return result, 0


def _import(config: Any, options: argparse.Namespace) -> tuple[Any, int]:  # noqa: ANN401
    from ringmain_trainer.imports.importer import import_file  # noqa: PLC0415

    says = {"mapping": options.mapping, "site": options.site, "time_zone": options.time_zone}
    says["local_time_zone"] = config.time_zone
    result = import_file(options.file, history=config.history, step_s=config.training.step_s, now=_now(), **says)
    if all(one.imported_before for one in result):
        log.info("%s was imported before: nothing to do", options.file)
    return result, 0


def _history(config: Any, options: argparse.Namespace) -> tuple[Any, int]:  # noqa: ANN401
    from ringmain_trainer.history.maintenance import compact, retain  # noqa: PLC0415
    from ringmain_trainer.history.query import Selection, answer_rows, export, query, select, summary  # noqa: PLC0415

    if options.compact or options.retain:
        done = retain(config.history, msgspec.structs.asdict(config.retention), _now())
        return done + (compact(config.history) if options.compact else []), 0
    chosen = Selection(site=options.site, signals=options.signal or None, since=options.since, until=options.until)
    if options.sql is None and options.table is None and options.export is None and chosen == Selection(site=options.site):
        found = summary(config.history, site=options.site)
        if not found:
            log.warning("%s holds nothing%s", config.history, f" of site {options.site}" if options.site else "")
        return found, 0
    if options.sql is not None:
        views = _checked_view(config, chosen) if "steps_checked" in options.sql else {}
        answer = query(config.history, options.sql, chosen, views)
    else:
        answer = select(config.history, options.table or "steps", chosen)
    if options.export is not None:
        return export(answer, options.export), 0
    rows, more = answer_rows(answer)
    if more:
        log.warning("these are the first %d rows; --export FILE.parquet writes all", len(rows))
    return rows, 0


def _checked_view(config: Any, chosen: Any) -> dict[str, Any]:  # noqa: ANN401
    from ringmain_trainer.quality.site_quality import steps_checked  # noqa: PLC0415

    sites = [] if chosen.site is None else [chosen.site]
    return {"steps_checked": steps_checked(config, sites, signals=chosen.signals, since=chosen.since, until=chosen.until)}


def _report(config: Any, options: argparse.Namespace) -> tuple[Any, int]:  # noqa: ANN401
    from ringmain_trainer.report.write_report import report  # noqa: PLC0415

    if options.out:
        settings = msgspec.structs.replace(config.report, folder=str(options.out.resolve()))
        config = msgspec.structs.replace(config, report=settings)
    results = report(config, now=_now(), site=options.site)
    for result in results:
        if result.reason:
            log.warning("no report site=%s reason=%s", result.site, result.reason)
    if not results:
        log.error("no steps of any site in %s", config.history)
    log.info("wrote pages=%d folder=%s", len(results) + (options.site is None), config.report.folder)
    return results, 0 if any(not result.reason for result in results) else EXIT_FAILED


def _now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251  the one look at the clock


def _print_result(result: Any, target: str | None) -> None:  # noqa: ANN401  Structs, lists and dicts
    text = msgspec.json.format(msgspec.json.encode(result), indent=1).decode()
    if target not in {None, "-"}:
        Path(str(target)).write_text(text + "\n", encoding="utf-8")
        return
    plain = msgspec.to_builtins(result)
    rows = plain if isinstance(plain, list) else [plain]
    print(text if target == "-" else "\n".join(_line(row) for row in rows))


def _line(row: dict[str, Any]) -> str:
    """A result for a person: `name=value`, numbers to six digits; hashes are for programs."""
    shown = []
    for name, value in row.items():
        for key, one in value.items() if isinstance(value, dict) else ((name, value),):
            if one not in (None, "", {}, []) and not key.endswith("sha256"):
                shown.append(f"{key}={f'{one:.6g}' if isinstance(one, float) else one}")
    return " ".join(shown)


if __name__ == "__main__":
    sys.exit(main())
