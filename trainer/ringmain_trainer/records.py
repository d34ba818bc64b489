"""Kafka records to the columns of the history tables. Pure: nothing is read or written here.

A message becomes one head (site, sequence, ...) and some rows (a value each); the heads are repeated only when the frame is
made, all at once, so that a hundred thousand messages take seconds.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import polars as pl

from ringmain_protocol import topics
from ringmain_protocol.errors import MessageError
from ringmain_protocol.messages import (
    Forecast,
    Readings,
    Schedule,
    Series,
    Setpoint,
    Status,
    Steps,
    decode,
)
from ringmain_trainer.ranges import Ranges
from ringmain_trainer.tables import INSTANT, TABLES, Kind, bucket

_MS_MIN: Final = -62_135_596_800_000  # year 1
_MS_MAX: Final = 253_370_764_800_000  # year 9999
_FLOAT32_MAX: Final = float(np.finfo(np.float32).max)


class Record(NamedTuple):
    """One Kafka record, as far as the history needs it."""

    kind: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]
    timestamp_ms: int


class Facts(NamedTuple):
    """What stands around a payload: site, name of the series, when the bridge received it, whether its time can be true."""

    site: str
    name: str | None
    received_ms: int
    plausible: bool


class Known:
    """What the history already holds: sequences by (site, stream), issues by (site, series), the last status of each site.

    All streams of a site's outbox count one sequence over all kinds, so the ranges are few although each kind alone has
    holes.
    """

    def __init__(self) -> None:
        self.sequences: dict[tuple[str, str], Ranges] = {}
        self.issues: dict[tuple[str, str], Ranges] = {}
        self.status: dict[str, int] = {}

    def is_new(self, facts: Facts, message: object) -> bool:
        """Remember the message; whether it had not been seen before."""
        if isinstance(message, Series):
            return self.issues.setdefault((facts.site, facts.name or ""), Ranges()).add(message.issued_at_ms)
        if isinstance(message, Status):  # retained, so a bridge that reconnects delivers the last one again
            new = self.status.get(facts.site) != message.at_ms
            self.status[facts.site] = message.at_ms
            return new
        stream, sequence = message.stream, message.sequence  # type: ignore[attr-defined]
        return self.sequences.setdefault((facts.site, stream), Ranges()).add(sequence)


class Batch:
    """Messages of one kind on their way into one table."""

    def __init__(self, kind: str) -> None:
        self.table = TABLES[kind]
        self._take = _TAKE[kind]
        self._head: dict[str, list[Any]] = {name: [] for name in self.table.head}
        self._rows: dict[str, list[Any]] = {name: [] for name in self.table.rows}
        self._plausible: list[bool] = []
        self._bucket: list[int] = []
        self._counts: list[int] = []
        self.rejected: Counter[str] = Counter()
        self.duplicates = 0
        self.rows = 0

    def add(self, record: Record, known: Known) -> MessageError | None:
        """Take one record in, unless it was seen before; the error says why it could not be used."""
        try:
            facts = _facts(record)
            message: Any = decode(record.value or b"", _KINDS[record.kind])
            head, rows = self._take(message, facts)
            _require_instants(head, rows, facts)
        except MessageError as error:
            self.rejected[error.reason] += 1
            return error
        if not known.is_new(facts, message):
            self.duplicates += 1
            return None
        if record.kind == topics.STATUS:
            head["payload"] = (record.value or b"").decode()
        count = 0
        for name, column in rows.items():
            self._rows[name].extend(column)
            count = len(column)
        head["site"], head["received_at"] = facts.site, facts.received_ms
        for name, value in head.items():
            self._head[name].append(value)
        self._plausible.append(facts.plausible)
        self._bucket.append(bucket(facts.site))
        self._counts.append(count)
        self.rows += count
        return None

    def frame(self) -> pl.DataFrame:
        """All rows, sorted by partition."""
        head = _frame(self._head, self.table.head).with_columns(
            pl.Series("bucket", self._bucket, dtype=pl.Int32), pl.Series("_plausible", self._plausible, dtype=pl.Boolean)
        )
        message = np.repeat(np.arange(len(self._counts), dtype=np.int64), self._counts)
        whole = pl.concat([head[message], _frame(self._rows, self.table.rows)], how="horizontal")
        # an instant that cannot be true makes no partition of its own
        at = pl.when("_plausible").then(self.table.time).otherwise("received_at")
        whole = whole.with_columns(at.dt.strftime("%Y-%m").alias("month"))
        return whole.select(list(self.table.columns)).sort("bucket", "month", maintain_order=True)


def _frame(columns: dict[str, list[Any]], types: Mapping[str, Kind]) -> pl.DataFrame:
    made = []
    for name, values in columns.items():
        kind = types[name]
        if kind == INSTANT:
            made.append((pl.Series(name, values, dtype=pl.Int64) * 1000).cast(INSTANT))
        elif kind == pl.Float32:
            wide = pl.Series(name, values, dtype=pl.Float64)
            made.append(wide.set(wide.abs() > _FLOAT32_MAX, None).cast(pl.Float32))
        else:
            made.append(pl.Series(name, values, dtype=kind))
    return pl.DataFrame(made)


def _facts(record: Record) -> Facts:
    headers = dict(record.headers)
    site = (record.key or b"").decode("ascii", "replace")
    if not topics.is_site(site):
        raise MessageError("no_site", f"key {site[:80]!r} is not a site id")
    if record.value is None:
        raise MessageError("no_value", "record without a value")
    name = None
    if record.kind == topics.SERIES:
        topic = topics.parse((headers.get("mqtt_topic") or b"").decode("utf-8", "replace"))
        if topic.site != site or topic.name is None:
            raise MessageError("unknown_topic", f"a series of {site} came from the topic of {topic.site}/{topic.kind}")
        name = topic.name
    received = headers.get("received_ms") or b""
    received_ms = int(received) if received.isdigit() and len(received) < 16 else record.timestamp_ms
    return Facts(site, name, received_ms, headers.get("implausible_time") != b"1")


_INSTANTS: Final = frozenset(("at", "start_at", "valid_at", "issued_at"))


def _require_instants(head: dict[str, Any], rows: dict[str, Sequence[Any]], facts: Facts) -> None:
    found = [head[name] for name in _INSTANTS & head.keys()] + [facts.received_ms]
    for name in _INSTANTS & rows.keys():
        if rows[name]:
            found += [min(rows[name]), max(rows[name])]
    if min(found) < _MS_MIN or max(found) >= _MS_MAX:
        raise MessageError("time_out_of_range", f"an instant of {facts.site} is beyond the years 1 to 9998")


Taken = tuple[dict[str, Any], dict[str, Sequence[Any]]]


def _sent(message: Any) -> dict[str, Any]:  # noqa: ANN401  any message of the outbox
    return {"stream": message.stream, "sequence": message.sequence}


def _times(start_ms: int, step_s: int, count: int) -> range:
    return range(start_ms, start_ms + 1000 * step_s * count, 1000 * step_s)


def _readings(m: Readings, facts: Facts) -> Taken:
    head = {**_sent(m), "time_plausible": facts.plausible}
    return head, {"signal": m.signals, "at": m.at_ms, "value": m.values, "quality": m.quality}


def _steps(m: Steps, _: Facts) -> Taken:
    rows: dict[str, Sequence[Any]] = {"signal": m.signals, "start_at": m.at_ms, "value": m.values, "quality": m.quality}
    return {**_sent(m), "step_s": m.step_s}, rows


def _series(m: Series, facts: Facts) -> Taken:
    head = {"name": facts.name, "issued_at": m.issued_at_ms, "step_s": m.step_s, "unit": m.unit}
    return head, {"valid_at": _times(m.start_ms, m.step_s, len(m.values)), "value": m.values}


def _forecast(m: Forecast, _: Facts) -> Taken:
    if m.release > 2**31 - 1:
        raise MessageError("invalid", f"release {m.release} is beyond what a manifest may say")
    head = {**_sent(m), "signal": m.signal, "issued_at": m.issued_at_ms, "quantiles": m.quantiles}
    n = len(m.values)
    rows = {"valid_at": _times(m.issued_at_ms, m.step_s, n), "lead": range(n), "values": m.values}
    return {**head, "release": m.release, "reason": m.reason}, rows


def _schedule(m: Schedule, _: Facts) -> Taken:
    n = len(m.pcc_kw)
    if any(len(column) != n for columns in (m.power_kw, m.soc_kwh) for column in columns.values()):
        raise MessageError("invalid", "the columns of a schedule must be of one length")
    nothing: list[float | None] = [None] * n
    names = sorted(m.power_kw.keys() | m.soc_kwh.keys())
    rows: dict[str, Sequence[Any]] = {
        "valid_at": [*_times(m.issued_at_ms, m.step_s, n)] * len(names),
        "equipment": [name for name in names for _ in range(n)],
        "power_kw": [value for name in names for value in m.power_kw.get(name, nothing)],
        "soc_kwh": [value for name in names for value in m.soc_kwh.get(name, nothing)],
        "pcc_kw": m.pcc_kw * len(names),
    }
    return {**_sent(m), "issued_at": m.issued_at_ms, "fallback": m.fallback.value}, rows


def _setpoint(m: Setpoint, _: Facts) -> Taken:
    head = {**_sent(m), "issued_at": m.issued_at_ms, "valid_for_s": m.valid_for_s, "mode": m.mode.value}
    rows: dict[str, Sequence[Any]] = {"equipment": list(m.power_kw), "power_kw": list(m.power_kw.values())}
    return {**head, "fallback": m.fallback.value, "reason": m.reason}, rows


def _status(m: Status, _: Facts) -> Taken:
    return {"time_zone": m.time_zone, "mode": m.mode.value}, {"at": [m.at_ms]}


_TAKE: Final[dict[str, Callable[[Any, Facts], Taken]]] = {
    topics.READINGS: _readings,
    topics.STEPS: _steps,
    topics.SERIES: _series,
    topics.FORECAST: _forecast,
    topics.SCHEDULE: _schedule,
    topics.SETPOINT: _setpoint,
    topics.STATUS: _status,
}
_KINDS: Final[dict[str, type[Any]]] = {
    topics.READINGS: Readings,
    topics.STEPS: Steps,
    topics.SERIES: Series,
    topics.FORECAST: Forecast,
    topics.SCHEDULE: Schedule,
    topics.SETPOINT: Setpoint,
    topics.STATUS: Status,
}
