"""Analysis of sites: unusual days and hours, kinds of days, risk of limit violations; each model as ONNX with its dump.

Files are `<candidates>/analysis/<kind>/<signal>/<site>/`: `model.onnx`, `model.joblib` (no class of ours) and, written last,
`record.json` with the result. They are never published: agents do not need them. An error at a site becomes the reason in
its result; the other kinds and sites go on.
"""

import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple

import joblib
import msgspec
import numpy as np
import onnx
from msgspec import Struct, structs
from onnx import helper

from ringmain_model.session import forecast, open_session, run
from ringmain_program.files import write_file
from ringmain_trainer.analysis.anomalies import (
    FEATURES,
    Anomaly,
    Residuals,
    day_features,
    fit_forest,
    forest_model,
    unusual_days,
    unusual_hours,
)
from ringmain_trainer.analysis.day_clusters import Cluster, cluster_days, cluster_model, normalized, whole_days
from ringmain_trainer.analysis.limit_violations import NO_LIMIT, expected_risk, fit_violations, violations_model
from ringmain_trainer.analysis.onnx_files import prove_same
from ringmain_trainer.calendar import DAY_S
from ringmain_trainer.config.recipe import recipe_of
from ringmain_trainer.config.trainer import ModelConfig, TrainerConfig
from ringmain_trainer.errors import ExportError, TooLittleDataError
from ringmain_trainer.export.onnx_file import PROBES, check_file, damaged
from ringmain_trainer.features.examples import examples, window_of
from ringmain_trainer.features.feature_graph import FEATURES as FEATURES_OUTPUT
from ringmain_trainer.features.feature_graph import feature_model
from ringmain_trainer.features.site_data import SiteData, read_site
from ringmain_trainer.history.site_reader import read_sites
from ringmain_trainer.quantities import unit_of
from ringmain_trainer.registry.candidates import DUMP, MODEL, candidate_folder
from ringmain_trainer.training.recipe import rows_of
from ringmain_trainer.workers import run_all

RECORD: Final = "record.json"
_FOLDER: Final = "analysis"
_PROVED_DAYS: Final = 400
_ANOMALIES_MAX: Final = 50
"""Anomalies of a result; the record keeps the strongest ones."""


class AnalysisResult(Struct, frozen=True, kw_only=True):
    """The result of one kind of analysis for one site and signal; `reason` if it could not be done."""

    site: str
    signal: str
    kind: str
    done: bool
    reason: str = ""
    metrics: dict[str, float] = {}
    texts: dict[str, str] = {}
    anomalies: list[Anomaly] = []
    clusters: list[Cluster] = []
    model_bytes: int = 0
    dump_bytes: int = 0
    model_sha256: str = ""
    dump_sha256: str = ""
    fit_s: float = 0.0


class AnalysisFile(NamedTuple):
    """An analysis: numbers, texts and findings, the proved file and its dump; both are empty without a model."""

    metrics: dict[str, float]
    texts: dict[str, str] = {}  # noqa: RUF012  never changed
    anomalies: tuple[Anomaly, ...] = ()
    clusters: tuple[Cluster, ...] = ()
    content: bytes = b""
    dump: dict[str, Any] = {}  # noqa: RUF012  never changed


class Subject(NamedTuple):
    """A site and signal under analysis."""

    config: TrainerConfig
    model: ModelConfig
    data: SiteData
    now: datetime
    forecaster: bytes | None


def analyse(
    config: TrainerConfig,
    sites: Sequence[str] = (),
    *,
    now: datetime,
    until: datetime | None = None,
    dask: str = "",
) -> Iterator[AnalysisResult]:
    """Analyse these sites, or all that have steps, for each model of the configuration; results as they are ready."""
    tasks = [(site, model) for site in (list(sites) or read_sites(config.history)) for model in config.model]
    work = partial(_analyse_task, config=config, now=now, until=until)
    for outcome in run_all(work, tasks, jobs=config.training.jobs, dask=dask):
        site, model = tasks[outcome.number]
        if outcome.value is None:
            yield AnalysisResult(site=site, signal=model.signal, kind="all", done=False, reason=outcome.reason)
        else:
            yield from outcome.value


def analyse_site(
    config: TrainerConfig, site: str, model: ModelConfig, *, now: datetime, until: datetime | None = None
) -> list[AnalysisResult]:
    """All kinds of analysis for one site and signal; files of an earlier analysis are replaced or removed."""
    data = read_site(config, site, model, until=until)
    results = []
    for kind, work in KINDS.items():
        folder = analysis_folder(Path(config.candidates), kind, model.signal, site)
        shutil.rmtree(folder, ignore_errors=True)
        begin = time.monotonic()
        result = AnalysisResult(site=site, signal=model.signal, kind=kind, done=False)
        if data is None:
            results.append(structs.replace(result, reason=f"no steps of {model.signal} in the history"))
            continue
        try:
            analysis = work(Subject(config, model, data, now, _newest_model(Path(config.candidates), model.signal, site)))
        except (TooLittleDataError, ExportError) as error:
            results.append(structs.replace(result, reason=str(error)))
            continue
        result = structs.replace(
            result,
            done=True,
            metrics=analysis.metrics,
            texts=analysis.texts,
            anomalies=list(analysis.anomalies[:_ANOMALIES_MAX]),
            clusters=list(analysis.clusters),
            fit_s=time.monotonic() - begin,
        )
        results.append(_written(folder, result, analysis))
    return results


def analysis_folder(candidates: Path, kind: str, signal: str, site: str) -> Path:
    """Folder of the files of an analysis."""
    return candidates / _FOLDER / kind / signal / site


def analyse_days(subject: Subject) -> AnalysisFile:
    """Unusual days."""
    config, data = subject.config, subject.data
    days = whole_days(data.steps, config.training.step_s, data.time_zone)
    features = day_features(days, config.holidays)
    forest = fit_forest(features, config.analysis)
    labels, scores = forest.predict(features.rows).astype(np.int64), forest.decision_function(features.rows)
    proved = slice(-_PROVED_DAYS, None)
    content = prove_same(
        _described(forest_model(forest, features), {"columns": list(FEATURES)}),
        {"features": features.rows[proved]},
        {"label": labels[proved], "score": scores[proved]},
    )
    unusual = unusual_days(features, labels, scores, data.time_zone, unit_of(subject.model.signal))
    metrics = {"days": float(len(days.dates)), "unusual_days": float(len(unusual)), "trees": float(config.analysis.trees)}
    return AnalysisFile(
        metrics, anomalies=tuple(unusual), content=content, dump={"forest": forest, "columns": list(FEATURES)}
    )


def analyse_hours(subject: Subject) -> AnalysisFile:
    """Hours outside the quantiles of the site's own model, one forecast a day."""
    config, data, model = subject.config, subject.data, subject.model
    if subject.forecaster is None:
        raise TooLittleDataError(f"no model of {model.signal}: train this site first")
    manifest = check_file(subject.forecaster)
    window = window_of(config.training)
    shape = (manifest.step_s, manifest.history_steps, manifest.horizon_steps, list(manifest.signals), list(manifest.series))
    if shape != (*window, model.history, model.series):
        raise TooLittleDataError("the model has another shape than the configuration: train this site again")
    day, steps = DAY_S // window.step_s, len(data.steps.values)
    last = steps - window.horizon_steps
    first = max(window.history_steps, steps - config.analysis.residual_days * day)
    rows = list(range(first, last + 1, day))
    if not rows:
        raise TooLittleDataError("too little data: no day with a whole history before it")
    daily = examples(data.steps, (data.series[name] for name in model.series), window, rows)
    quantiles = forecast(open_session(subject.forecaster), daily.inputs)
    residuals = Residuals(quantiles, daily.targets, daily.issued_at_s, window.step_s)
    unusual = unusual_hours(residuals, config.analysis, unit_of(model.signal))
    inside = (daily.targets >= quantiles[:, :, 0]) & (daily.targets <= quantiles[:, :, -1])
    known = np.isfinite(daily.targets)
    seen = int(1000 * daily.issued_at_s[0]) < manifest.trained_to_ms
    metrics = {"forecasts": float(len(rows)), "unusual_hours": float(len(unusual))}
    if known.any():
        metrics["coverage"] = float(inside[known].mean())
    note = "the model was fitted on these days as well: these hours stand out in spite of it" if seen else ""
    return AnalysisFile(metrics, {"note": note} if note else {}, tuple(unusual))


def analyse_profiles(subject: Subject) -> AnalysisFile:
    """Kinds of days."""
    config, data = subject.config, subject.data
    days = whole_days(data.steps, config.training.step_s, data.time_zone)
    span = (config.analysis.clusters_min, config.analysis.clusters_max)
    clusters = cluster_days(days, k_range=span, holidays=config.holidays)
    proved = days.profiles[-_PROVED_DAYS:]
    shapes = normalized(proved)
    expected = {
        "cluster": clusters.estimator.predict(shapes).astype(np.int64),
        "distances": clusters.estimator.transform(shapes),
    }
    content = prove_same(_described(cluster_model(clusters), {}), {"profiles": proved}, expected)
    metrics = {"days": float(len(days.dates)), "clusters": float(len(clusters.clusters))}
    metrics |= {f"silhouette_{k}": score for k, score in clusters.silhouettes.items()}
    dump = {"kmeans": clusters.estimator, "labels": clusters.labels, "dates": [one.isoformat() for one in days.dates]}
    return AnalysisFile(metrics, clusters=tuple(clusters.clusters), content=content, dump=dump)


def analyse_violations(subject: Subject) -> AnalysisFile:
    """The risk that a limit is violated in the hours ahead."""
    config, data, model = subject.config, subject.data, subject.model
    rows = rows_of(config.training, data)
    fitted = fit_violations(recipe_of(config, model), config.analysis, data, rows, now=subject.now)
    newest = np.arange(len(fitted.data.targets))[-PROBES:]
    probes = damaged(fitted.data.take(newest).inputs, fitted.spec)
    features = run(open_session(feature_model(fitted.spec)), probes, FEATURES_OUTPUT)
    about: dict[str, Any] = {
        "limit_low": fitted.limit.low,
        "limit_high": fitted.limit.high,
        "step_threshold": fitted.by_step.threshold,
        "horizon_threshold": fitted.by_horizon.threshold,
    }
    content = prove_same(_described(violations_model(fitted), about), probes, expected_risk(fitted, features))
    metrics = {key: float(value) for key, value in about.items() if abs(value) < NO_LIMIT}
    for name, score in (("step", fitted.by_step), ("horizon", fitted.by_horizon)):
        metrics |= {f"{name}_{key}": float(value) for key, value in structs.asdict(score).items()}
    metrics |= {"step_persistence_f1": fitted.persistence_f1, "average_precision": fitted.average_precision}
    texts = {"estimator": fitted.name, "limit": fitted.limit.source}
    return AnalysisFile(metrics, texts, content=content, dump={"classifier": fitted.estimator, **about})


KINDS: Final[dict[str, Callable[[Subject], AnalysisFile]]] = {
    "days": analyse_days,
    "hours": analyse_hours,
    "profiles": analyse_profiles,
    "violations": analyse_violations,
}
"""The analyses of each site and signal."""


def _analyse_task(
    task: tuple[str, ModelConfig], *, config: TrainerConfig, now: datetime, until: datetime | None
) -> list[AnalysisResult]:
    return analyse_site(config, *task, now=now, until=until)


def _written(folder: Path, result: AnalysisResult, analysis: AnalysisFile) -> AnalysisResult:
    """The result with sizes and hashes, after its files are written, the record last."""
    folder.mkdir(parents=True, exist_ok=True)
    if analysis.content:
        part = folder / (DUMP + ".part")
        joblib.dump(analysis.dump, part, compress=3)
        part.replace(folder / DUMP)
        write_file(folder / MODEL, analysis.content)
        dump = (folder / DUMP).read_bytes()
        result = structs.replace(
            result,
            model_bytes=len(analysis.content),
            dump_bytes=len(dump),
            model_sha256=sha256(analysis.content).hexdigest(),
            dump_sha256=sha256(dump).hexdigest(),
        )
    write_file(folder / RECORD, msgspec.json.format(msgspec.json.encode(result), indent=1))
    return result


def _newest_model(candidates: Path, signal: str, site: str) -> bytes | None:
    """The site's forecast model: the waiting candidate, else the newest released model."""
    waiting = candidate_folder(candidates, signal, site) / MODEL
    released = [path for path in candidates.glob(f"released/*/{signal}/{site}/{MODEL}") if path.parts[-4].isdigit()]
    newest = max(released, key=lambda path: int(path.parts[-4]), default=waiting)
    path = waiting if waiting.is_file() else newest
    return path.read_bytes() if path.is_file() else None


def _described(model: onnx.ModelProto, about: dict[str, Any]) -> onnx.ModelProto:
    """The model with what a reader of the file needs, as JSON in its metadata."""
    helper.set_model_props(model, {"ringmain_analysis": msgspec.json.encode(about).decode()})
    return model


def result_rows(results: Iterable[AnalysisResult]) -> list[dict[str, Any]]:
    """One row per result, anomaly and kind of day, as the command prints them without `--json`."""
    rows: list[dict[str, Any]] = []
    for one in results:
        head: dict[str, Any] = {"site": one.site, "signal": one.signal, "kind": one.kind}
        metrics = {name: float(f"{value:.4g}") for name, value in one.metrics.items()}
        rows.append(head | {"done": one.done, "reason": one.reason, "model_bytes": one.model_bytes} | metrics | one.texts)
        for anomaly in one.anomalies:
            at = datetime.fromtimestamp(anomaly.from_s, UTC).strftime("%Y-%m-%dT%H:%MZ")
            rows.append(head | {"from": at, "score": float(f"{anomaly.score:.3g}"), "reason": anomaly.reason})
        for number, cluster in enumerate(one.clusters, start=1):
            shares = {name: round(getattr(cluster, f"{name}_share"), 2) for name in ("weekday", "weekend", "holiday")}
            rows.append(head | {"cluster": number, "days": cluster.size, "like": cluster.representative_day} | shares)
    return rows
