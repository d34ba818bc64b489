"""MLflow, a copy of the candidate folders: each training is a run, releases move the alias `champion`. Nothing is read back.

One registered model for each of thousands of sites makes every MLflow server slow. So a training is one run with one table
of all sites, and one version of one registered model per signal; the sites that the configuration names have a run and a
registered model of their own, with the files. A server that does not answer costs a warning, not the training.
"""

import logging
import math
import os
import socket
import statistics
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
import onnx
import polars as pl

from ringmain_program.brokers import KafkaBroker
from ringmain_trainer.config.trainer import SQLITE, TrackingConfig, TrainerConfig
from ringmain_trainer.errors import TrainerError
from ringmain_trainer.registry.candidates import (
    DUMP,
    RECORD,
    Candidate,
    read_newest_rejected,
    read_one_waiting,
    read_released_records,
)
from ringmain_trainer.registry.gate import CHALLENGER, CHAMPION, Decision
from ringmain_trainer.training.journal import PACKAGES, header_of
from ringmain_trainer.training.train_site import TrainingResult

_PARAMETER_CHARACTERS: Final = 500  # limit of MLflow
_BATCH: Final = 100  # likewise
_ARTIFACTS: Final = "mlflow-artifacts"
_SHA: Final = "model_sha256"
log: Final = logging.getLogger("ringmain_trainer")


def require_mlflow(config: TrainerConfig) -> None:
    """Refuse before the training, not after it, if MLflow is configured and not installed.

    Raises:
        TrainerError: If it is not installed.
    """
    if config.tracking.uri:
        _mlflow(config.tracking)


def record_training(
    config: TrainerConfig, results: list[TrainingResult], *, now: datetime, until: datetime | None
) -> str | None:
    """Record a training as a run: settings, packages, a table of all sites; a new challenger for each signal and named site.

    Returns:
        The id of the run; None if tracking is not configured or the server does not answer.
    """
    run_id: str | None = _careful(config.tracking, lambda: _Tracker(config).training(results, now=now, until=until))
    return run_id


def record_release(config: TrainerConfig, release: int) -> None:
    """Move the alias `champion` to the models of a release; after a rollback, to those of the older release."""
    _careful(config.tracking, lambda: _Tracker(config).release(release))


class _Tracker:
    """Talks to one MLflow server."""

    def __init__(self, config: TrainerConfig) -> None:
        mlflow: Any = _mlflow(config.tracking)
        self._config = config
        self._mlflow = mlflow
        self._client: Any = mlflow.MlflowClient(tracking_uri=config.tracking.uri)

    def training(self, results: list[TrainingResult], *, now: datetime, until: datetime | None) -> str:
        """Record a run of the whole training, and below it a run for each named site."""
        asked = header_of(self._config, now=now, until=until)
        tags = {
            "ringmain.kind": "training",
            "ringmain.config_sha256": asked.config_sha256,
            "mlflow.runName": f"{now:%Y-%m-%d %H:%M}",
        }
        packages = {f"package.{name}": version(name) for name in PACKAGES}
        with self._run(tags, now) as run_id:
            self._parameters(
                run_id, packages | {"until": str(until or "")} | dict(_flat(msgspec.to_builtins(self._settings())))
            )
            with TemporaryDirectory() as folder:
                _write_table(Path(folder), results, self._settings())
                self._client.log_artifacts(run_id, folder)
            for signal in dict.fromkeys(result.signal for result in results):
                own = [result for result in results if result.signal == signal]
                self._metrics(run_id, now, {f"{signal}.{name}": value for name, value in _summary(own).items()})
                if any(_may_be_released(result) for result in own):
                    self._new_version(self._name(signal), run_id, "", {"ringmain.kind": "fleet"}, alias=CHALLENGER)
            for candidate in self._named(results):
                self._site(candidate, run_id, now)
        return run_id

    def release(self, release: int) -> None:
        """Move the alias of each signal and of each named site."""
        records = read_released_records(Path(self._config.candidates), release)
        for signal in sorted({record.signal for record in records}):
            self._champion(self._name(signal), release, None)
        for record in records:
            if record.site in self._config.tracking.sites:
                self._champion(self._name(record.signal, record.site), release, record.model_sha256)

    def _site(self, candidate: Candidate, parent: str, now: datetime) -> None:
        """A run and a version of the registered model of a named site, with the files of its candidate."""
        record = candidate.record
        tags = {
            "mlflow.parentRunId": parent,
            "mlflow.runName": f"{record.signal} {record.site}",
            "ringmain.site": record.site,
            "ringmain.signal": record.signal,
            "ringmain.decision": record.decision.value,
            "ringmain.reason": record.reason,
        }
        with self._run(tags, now) as run_id, TemporaryDirectory() as folder:
            self._parameters(
                run_id, {"trained_sha256": record.trained_sha256, "trained_forecasts": str(record.trained_forecasts)}
            )
            self._metrics(run_id, now, record.metrics | {f"gate.{name}": value for name, value in record.scores.items()})
            path = Path(folder) / "model"
            self._mlflow.onnx.save_model(
                onnx.load_from_string(candidate.content),
                path,
                pip_requirements=[f"onnxruntime=={version('onnxruntime')}"],
                onnx_execution_providers=["CPUExecutionProvider"],
                onnx_session_options={"intra_op_num_threads": 1, "inter_op_num_threads": 1},  # sums have one order
                save_as_external_data=False,
            )
            self._client.log_artifacts(run_id, str(path), "model")
            for name in (DUMP, RECORD):
                self._client.log_artifact(run_id, str(candidate.folder / name), "candidate")
            alias = None if record.decision is Decision.REJECTED else CHALLENGER
            about = {_SHA: record.model_sha256, "ringmain.decision": record.decision.value}
            self._new_version(self._name(record.signal, record.site), run_id, "model", about, alias=alias)

    def _named(self, results: list[TrainingResult]) -> Iterator[Candidate]:
        """Candidates of the sites that have runs of their own."""
        folder = Path(self._config.candidates)
        for result in results:
            if result.trained and result.site in self._config.tracking.sites:
                read = read_newest_rejected if result.decision is Decision.REJECTED else read_one_waiting
                candidate = read(folder, result.signal, result.site)
                if candidate is not None:
                    yield candidate

    def _champion(self, name: str, release: int, sha256: str | None) -> None:
        """Move the alias to the version that was released under this number, or is released now.

        `sha256` is that of the model of a named site; the version of a whole signal that is released now is its challenger.
        """
        mark = f"ringmain.release.{release}"
        versions = list(self._client.search_model_versions(f"name='{name}'"))
        of_release = [one for one in versions if mark in one.tags]
        if not of_release and sha256 is not None:
            of_release = [one for one in versions if one.tags.get(_SHA) == sha256]
        elif not of_release:
            of_release = [one for one in versions if CHALLENGER in self._aliases(name, one.version)]
        if not of_release:
            log.warning("tracking: no version of %s is known to belong to release %d; its aliases stay", name, release)
            return
        newest = max(of_release, key=lambda one: int(one.version)).version
        self._client.set_model_version_tag(name, newest, mark, "true")
        self._client.set_registered_model_alias(name, CHAMPION, newest)
        if CHALLENGER in self._aliases(name, newest):
            self._client.delete_registered_model_alias(name, CHALLENGER)

    def _aliases(self, name: str, number: str) -> list[str]:
        return list(self._client.get_model_version(name, number).aliases)

    def _new_version(self, name: str, run_id: str, path: str, tags: dict[str, str], *, alias: str | None) -> None:
        try:
            self._client.get_registered_model(name)
        except self._mlflow.exceptions.MlflowException:
            self._client.create_registered_model(name)
        source = f"{self._client.get_run(run_id).info.artifact_uri}/{path}".rstrip("/")
        created = self._client.create_model_version(
            name, source, run_id, tags=tags, await_creation_for=_wait_s(self._config.tracking)
        )
        if alias is not None:
            self._client.set_registered_model_alias(name, alias, created.version)

    def _name(self, signal: str, site: str = "") -> str:
        """Name of a registered model: of a signal, or of a named site."""
        return ".".join(part for part in (self._config.tracking.registered_model, signal, site) if part)

    def _settings(self) -> TrainerConfig:
        """The configuration without the addresses of Kafka and MLflow."""
        return msgspec.structs.replace(self._config, kafka=KafkaBroker(), tracking=TrackingConfig())

    @contextmanager
    def _run(self, tags: dict[str, str], now: datetime) -> Generator[str]:
        """A run; it is ended also when the recording fails."""
        run = self._client.create_run(self._experiment(), start_time=round(1000 * now.timestamp()), tags=tags)
        status = "FAILED"
        try:
            yield run.info.run_id
            status = "FINISHED"
        finally:
            self._client.set_terminated(run.info.run_id, status)

    def _experiment(self) -> str:
        """The id of the experiment, created if missing; the artifacts of a local database lie in its folder."""
        name, uri = self._config.tracking.experiment, self._config.tracking.uri
        experiment = self._client.get_experiment_by_name(name)
        if experiment is not None:
            return str(experiment.experiment_id)
        place = (Path(uri.removeprefix(SQLITE)).parent / _ARTIFACTS).as_uri() if uri.startswith(SQLITE) else None
        return str(self._client.create_experiment(name, artifact_location=place))

    def _parameters(self, run_id: str, values: dict[str, str]) -> None:
        pairs = [self._mlflow.entities.Param(name, value[:_PARAMETER_CHARACTERS]) for name, value in sorted(values.items())]
        for first in range(0, len(pairs), _BATCH):
            self._client.log_batch(run_id, params=pairs[first : first + _BATCH])

    def _metrics(self, run_id: str, now: datetime, values: dict[str, float]) -> None:
        finite = {name: float(value) for name, value in values.items() if math.isfinite(value)}
        at_ms = round(1000 * now.timestamp())
        metrics = [self._mlflow.entities.Metric(name, value, at_ms, 0) for name, value in sorted(finite.items())]
        for first in range(0, len(metrics), _BATCH):
            self._client.log_batch(run_id, metrics=metrics[first : first + _BATCH])


def _careful(tracking: TrackingConfig, act: Callable[[], Any]) -> Any:  # noqa: ANN401
    """Act if tracking is configured; a server that does not answer, or refuses, costs a warning."""
    if not tracking.uri:
        return None
    mlflow = _mlflow(tracking)
    try:
        _require_answer(tracking)
        return act()
    except (mlflow.exceptions.MlflowException, OSError) as error:
        text = " ".join(str(error).split())[:500]
        log.warning(
            "tracking: MLflow at %s has an incomplete record, candidates and releases stand: %s",
            masked_uri(tracking),
            text,
        )
        return None


def _mlflow(tracking: TrackingConfig) -> ModuleType:
    """The package, with its telemetry off and short time-outs."""
    settings = {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(_wait_s(tracking)),
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # results go there
    }
    os.environ.update(settings)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about type hints of its own chat agents
            import mlflow  # noqa: PLC0415  an extra
            import mlflow.onnx  # noqa: PLC0415
            import mlflow.pyfunc.loaders  # noqa: PLC0415
    except ImportError as error:
        raise TrainerError("tracking.uri is set, but MLflow is not installed: pip install 'ringmain[mlflow]'") from error
    return mlflow


def _wait_s(tracking: TrackingConfig) -> int:
    return max(1, round(tracking.timeout_s))


def _require_answer(tracking: TrackingConfig) -> None:
    """Connect once with the time-out, before several requests each wait for it."""
    parts = urlsplit(tracking.uri)
    if parts.scheme in {"http", "https"}:
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
        with socket.create_connection((parts.hostname or "", port), timeout=tracking.timeout_s):
            pass


def masked_uri(tracking: TrackingConfig) -> str:
    """The address without user and password."""
    parts = urlsplit(tracking.uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _may_be_released(result: TrainingResult) -> bool:
    return result.trained and result.decision is not Decision.REJECTED


def _summary(results: Sequence[TrainingResult]) -> dict[str, float]:
    """Numbers of one signal over all sites: counts, and medians of the metrics."""
    trained = [result for result in results if result.trained]
    counts = {
        "sites": float(len(results)),
        "trained": float(len(trained)),
        "rejected": float(sum(result.decision is Decision.REJECTED for result in trained)),
        "train_s": sum(result.train_s for result in trained),
    }
    measured: dict[str, list[float]] = {}
    for result in trained:
        own = result.metrics | {"model_bytes": float(result.model_bytes), "latency_ms": result.latency_ms}
        for name, value in own.items():
            measured.setdefault(name, []).append(value)
    return counts | {f"{name}_median": statistics.median(values) for name, values in measured.items()}


def _write_table(folder: Path, results: Sequence[TrainingResult], settings: TrainerConfig) -> None:
    """The results of all sites as JSON and as a table, and the configuration."""
    (folder / "results.json").write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1))
    (folder / "config.json").write_bytes(msgspec.json.format(msgspec.json.encode(settings), indent=1))
    names = sorted({name for result in results for name in result.metrics})
    rows = []
    for result in results:
        plain = msgspec.to_builtins(result)
        row = {name: value for name, value in plain.items() if not isinstance(value, dict | list)}
        rows.append(row | {name: result.metrics.get(name) for name in names})
    pl.DataFrame(rows, infer_schema_length=None).write_csv(folder / "results.csv")


def _flat(values: Any, prefix: str = "") -> Iterator[tuple[str, str]]:  # noqa: ANN401  values of a decoded configuration
    """Nested tables as `table.key`, everything else as JSON."""
    if isinstance(values, dict):
        for name, value in values.items():
            yield from _flat(value, f"{prefix}.{name}" if prefix else name)
    elif values not in (None, [], ""):
        yield prefix, values if isinstance(values, str) else msgspec.json.encode(values).decode()
