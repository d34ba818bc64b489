"""Configuration of the trainer: one TOML file, every default here and commented in `deploy/config/trainer.toml`."""

import os
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, Literal
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Meta, Struct

from ringmain_program.brokers import KafkaBroker, files, with_absolute_files
from ringmain_program.config import ConfigError, load
from ringmain_protocol.messages import Name
from ringmain_trainer.calendar import DAY_S
from ringmain_trainer.config.estimators import EstimatorName, EstimatorsConfig
from ringmain_trainer.config.evaluation import BacktestConfig, DriftConfig, PromotionConfig, WatchConfig

SQLITE: Final = "sqlite:///"
"""Begin of the URI of a local MLflow database."""


Text = Annotated[str, Meta(min_length=1, max_length=4000)]
Share = Annotated[float, Meta(gt=0, lt=1)]
FeatureGroup = Literal["weekend_waves", "series_means", "wind_cubed"]


class IngestConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Size of a commit: seconds, rows or megabytes of payload, whichever comes first.

    Memory holds at most two loads of that size, and `queue_mb` of records that wait to be decoded.
    """

    commit_s: Annotated[float, Meta(gt=0, le=3600)] = 300.0
    commit_rows: Annotated[int, Meta(ge=1, le=20_000_000)] = 1_000_000
    commit_mb: Annotated[int, Meta(ge=1, le=10_000)] = 128
    queue_mb: Annotated[int, Meta(ge=1, le=2_000)] = 64
    progress_s: Annotated[float, Meta(gt=0, le=3600)] = 10.0


class RetentionConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Days that each table of the history is kept, in whole months; 0 keeps everything."""

    readings: Annotated[int, Meta(ge=0, le=36_600)] = 0
    steps: Annotated[int, Meta(ge=0, le=36_600)] = 0
    series: Annotated[int, Meta(ge=0, le=36_600)] = 0
    forecasts: Annotated[int, Meta(ge=0, le=36_600)] = 0
    schedules: Annotated[int, Meta(ge=0, le=36_600)] = 0
    setpoints: Annotated[int, Meta(ge=0, le=36_600)] = 0
    status: Annotated[int, Meta(ge=0, le=36_600)] = 0


class TrainingConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of all models of a training.

    A model needs `forecasts_min` forecasts to be trained on, each with `history_share_min` of its target. The last
    `held_out_share` of them, at most `held_out_days`, is held out: it gives the calibration of the quantiles and the
    metrics. Hyper-parameters and weights are chosen on `folds` before it. The model is then fitted on all.
    """

    days_max: Annotated[int, Meta(ge=1, le=3660)] = 400
    step_s: Annotated[int, Meta(ge=60, le=3600)] = 900
    history_steps: Annotated[int, Meta(ge=1, le=20_000)] = 768
    horizon_steps: Annotated[int, Meta(ge=1, le=2_000)] = 96
    first_lead_steps: Annotated[int, Meta(ge=0, le=2_000)] = 0
    issue_every_steps: Annotated[int, Meta(ge=1, le=1_000)] = 13
    quantiles: tuple[Share, ...] = (0.1, 0.5, 0.9)
    lag_days: Annotated[tuple[Annotated[int, Meta(ge=1, le=366)], ...], Meta(min_length=1)] = (1, 2, 7)
    features: tuple[FeatureGroup, ...] = ("weekend_waves",)
    forecasts_min: Annotated[int, Meta(ge=10)] = 60
    history_share_min: Annotated[float, Meta(gt=0, le=1)] = 0.5
    held_out_days: Annotated[float, Meta(gt=0, le=366)] = 21.0
    held_out_share: Share = 0.25
    folds: Annotated[int, Meta(ge=1, le=20)] = 3
    rows_max: Annotated[int, Meta(ge=1_000)] = 200_000
    model_bytes_max: Annotated[int, Meta(ge=10_000, le=20_000_000)] = 10_000_000
    latency_ms_max: Annotated[float, Meta(gt=0)] = 50.0
    jobs: Annotated[int, Meta(ge=-1, le=256)] = -1

    def __post_init__(self) -> None:
        if DAY_S % self.step_s or 3600 % self.step_s:
            raise ValueError("step_s must divide an hour")
        if self.history_steps * self.step_s < 7 * DAY_S:
            raise ValueError("history_steps must cover a week: lags of seven days come out of it")
        if self.history_steps * self.step_s < max(self.lag_days) * DAY_S:
            raise ValueError("history_steps must cover the longest of lag_days")
        if len(set(self.features)) != len(self.features):
            raise ValueError("features: a group is named twice")
        if self.first_lead_steps >= self.horizon_steps:
            raise ValueError("first_lead_steps must be below horizon_steps: nothing would be trained on")
        if sorted(set(self.lag_days)) != list(self.lag_days):
            raise ValueError("lag_days must rise")
        if sorted(set(self.quantiles)) != list(self.quantiles) or 0.5 not in self.quantiles:
            raise ValueError("quantiles must rise and hold 0.5")
        if self.jobs == 0:
            raise ValueError("jobs must be a number of processes, or -1 for one per CPU")


class SignalKind(StrEnum):
    """The quantity that a signal measures, for the rules of data quality."""

    LOAD = "load"
    PV = "pv"
    WIND = "wind"
    RADIATION = "radiation"
    TEMPERATURE = "temperature"
    WIND_SPEED = "wind_speed"
    SHARE = "share"
    PRICE = "price"
    OTHER = "other"


MarkName = Literal["range", "unit", "dead", "flat", "spike", "jump", "sign"]


_LIMITS: Final = {
    "_degc": (-60.0, 180.0),
    "temperature_degc": (-60.0, 60.0),
    "_w_per_m2": (-5.0, 1600.0),
    "_m_per_s": (0.0, 75.0),
    "_pct": (-0.5, 100.5),
}


class QualityConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of the rules of data quality; see `quality/rules.py` for each rule.

    Values with a mark of `mask` are gaps for training. `limits` are low and high by signal, or by the ending of its name;
    `kinds` gives the quantity of a signal whose name does not show it.
    """

    enabled: bool = True
    mask: tuple[MarkName, ...] = ("range", "unit", "dead", "flat", "spike", "sign")
    kinds: dict[str, SignalKind] = {}
    limits: dict[str, tuple[float, float]] = msgspec.field(default_factory=lambda: dict(_LIMITS))
    gap_share_max: Annotated[float, Meta(gt=0, le=1)] = 0.05
    unit_tolerance: Annotated[float, Meta(gt=1, lt=30)] = 4.0
    dead_share: Share = 0.9
    dead_values_max: Annotated[int, Meta(ge=1, le=100)] = 4
    flat_h: Annotated[float, Meta(gt=0)] = 6.0
    flat_pv_h: Annotated[float, Meta(gt=0)] = 3.0
    flat_weather_h: Annotated[float, Meta(gt=0)] = 24.0
    flat_rest_h: Annotated[float, Meta(gt=0)] = 22.0
    flat_calm_h: Annotated[float, Meta(gt=0)] = 72.0
    rest_share: Share = 0.02
    spike_share: Annotated[float, Meta(gt=0)] = 0.3
    spike_factor: Annotated[float, Meta(gt=0)] = 5.0
    spike_rare: Share = 0.02
    jump_share: Annotated[float, Meta(gt=0)] = 0.5
    jump_rare: Share = 0.005
    sign_share: Share = 0.98
    clock_days: Annotated[int, Meta(ge=5, le=60)] = 14
    clock_shift_min: Annotated[float, Meta(gt=0, le=120)] = 35.0
    follow_min: Share = 0.4
    findings_max: Annotated[int, Meta(ge=1, le=1000)] = 20

    def __post_init__(self) -> None:
        wrong = [name for name, (low, high) in self.limits.items() if not low < high]
        if wrong:
            raise ValueError(f"limits of {wrong[0]}: the first must be below the second")


class ReportConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Pages for people: where they go, on how many days models are scored, how much the page of the fleet shows."""

    folder: Text = "report"
    score_days: Annotated[float, Meta(gt=0, le=366)] = 28.0
    look_back: bool = True
    rows_max: Annotated[int, Meta(ge=1, le=100_000)] = 1000
    multiples_max: Annotated[int, Meta(ge=1, le=600)] = 60


class AnalysisConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `analyse` looks for: kinds of days, anomalies, and the risk that a limit is violated.

    `limits` are low and high by signal; without one the `limit_quantile` of the history stands in as the upper limit.
    """

    clusters_min: Annotated[int, Meta(ge=2, le=20)] = 2
    clusters_max: Annotated[int, Meta(ge=2, le=20)] = 8
    anomaly_share: Annotated[float, Meta(gt=0, le=0.5)] = 0.03
    trees: Annotated[int, Meta(ge=10, le=500)] = 32
    residual_days: Annotated[int, Meta(ge=1, le=366)] = 28
    residual_widths: Annotated[float, Meta(gt=0)] = 0.5
    residual_h: Annotated[float, Meta(gt=0, le=24)] = 1.0
    limits: dict[str, tuple[float, float]] = {}
    limit_quantile: Share = 0.95
    violation_rows_max: Annotated[int, Meta(ge=1_000)] = 40_000

    def __post_init__(self) -> None:
        if self.clusters_max < self.clusters_min:
            raise ValueError("clusters_max must not be below clusters_min")
        wrong = [name for name, (low, high) in self.limits.items() if not low < high]
        if wrong:
            raise ValueError(f"limits of {wrong[0]}: the first must be below the second")


class ModelConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model per site: the target, the signals of its history (target first), the series known ahead.

    More than one estimator is a blend: the mean of them, or weights fitted on the folds before the held-out days.
    """

    signal: Name
    history: list[Name]
    series: list[Name] = []
    estimators: Annotated[tuple[EstimatorName, ...], Meta(min_length=1)] = ("ridge",)
    weights: Literal["equal", "fitted"] = "equal"

    def __post_init__(self) -> None:
        if self.history[:1] != [self.signal]:
            raise ValueError(f"history must begin with the target {self.signal!r}")
        for names in (self.history, self.series):
            if len(set(names)) != len(names):
                raise ValueError("a signal or series is named twice")
        if len(set(self.estimators)) != len(self.estimators):
            raise ValueError("an estimator is named twice; for several seeds of one there is estimators.<name>.seeds")


class TrackingConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """MLflow, a copy of the candidates; without `uri` it is not used.

    `sites` have a run and a registered model of their own, all others one line in the table of a training.
    """

    uri: str = ""
    experiment: Text = "ringmain"
    registered_model: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,100}$")] = "ringmain"
    sites: list[Text] = []
    timeout_s: Annotated[float, Meta(gt=0, le=600)] = 10.0

    def __post_init__(self) -> None:
        if self.uri and ("://" not in self.uri or self.uri.startswith("file:")):
            raise ValueError(f"uri {self.uri!r}: MLflow refuses folders; take sqlite:///mlflow.db or a server")


class TrainerConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file. Paths are relative to it; `history` may also be the URL of an object store."""

    history: Text = "history"
    repository: Text = "repository"
    keys: Text = "keys"
    candidates: Text = "candidates"
    time_zone: str = "Europe/Amsterdam"
    holidays: list[str] = []
    channel: Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,63}$")] = "stable"
    kafka: KafkaBroker = KafkaBroker()
    ingest: IngestConfig = IngestConfig()
    retention: RetentionConfig = RetentionConfig()
    training: TrainingConfig = TrainingConfig()
    estimators: EstimatorsConfig = EstimatorsConfig()
    quality: QualityConfig = QualityConfig()
    analysis: AnalysisConfig = AnalysisConfig()
    report: ReportConfig = ReportConfig()
    backtest: BacktestConfig = BacktestConfig()
    promotion: PromotionConfig = PromotionConfig()
    drift: DriftConfig = DriftConfig()
    watch: WatchConfig = WatchConfig()
    tracking: TrackingConfig = TrackingConfig()
    model: list[ModelConfig] = []

    def __post_init__(self) -> None:
        if not is_time_zone(self.time_zone):
            raise ValueError(f"time_zone {self.time_zone!r} is not in the IANA database")
        for day in self.holidays:
            date.fromisoformat(day)
        signals = [model.signal for model in self.model]
        if len(set(signals)) != len(signals):
            raise ValueError("two models have the same signal")


def is_time_zone(name: str) -> bool:
    """Whether the IANA database knows the zone."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # ZoneInfoNotFoundError is a KeyError; a folder is an OSError
        return False
    return True


def load_config(path: Path, *, kafka: str | None = None, history: str | None = None) -> TrainerConfig:
    """The configuration with absolute paths; `kafka` and `history` replace those of the file.

    Raises:
        ConfigError: With every problem in the file, or every missing file that it names.
    """
    config = load(path, TrainerConfig)
    folder = path.resolve().parent
    broker = with_absolute_files(config.kafka, folder)
    missing = [
        f"{path}: kafka.{key}: there is no file {name}" for key, name in files(broker).items() if not Path(name).is_file()
    ]
    if missing:
        raise ConfigError("\n".join(missing))
    if kafka:
        broker = msgspec.structs.replace(broker, bootstrap_servers=kafka)
    return msgspec.structs.replace(
        config,
        kafka=broker,
        history=_absolute(Path.cwd(), history) if history else _absolute(folder, config.history),
        repository=_absolute(folder, config.repository),
        keys=_absolute(folder, config.keys),
        candidates=_absolute(folder, config.candidates),
        tracking=msgspec.structs.replace(config.tracking, uri=_database(folder, config.tracking.uri)),
        report=msgspec.structs.replace(config.report, folder=_absolute(folder, config.report.folder)),
    )


def _database(folder: Path, uri: str) -> str:
    """A tracking URI; the file of a local database is relative to the configuration, like every path."""
    return SQLITE + _absolute(folder, uri.removeprefix(SQLITE)) if uri.startswith(SQLITE) else uri


def _absolute(folder: Path, text: str) -> str:
    return text if "://" in text else os.path.normpath(folder / text)
