"""Series, forecasts, schedules, setpoints and status as columns: every message through the protocol's own decoder. Pure."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import polars as pl

from ringmain_protocol import topics
from ringmain_protocol.errors import MessageError
from ringmain_protocol.messages import Forecast, Schedule, Series, Setpoint, Status, decode
from ringmain_trainer.history.kafka_record import KINDS, MS_MAX, MS_MIN, Facts, ReceivedLog, Record, facts_of, out_of_range
from ringmain_trainer.history.tables import INSTANT, TABLES, Kind, bucket


class MessageColumns:
    """Messages of the other kinds, as columns of Python values."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._table = TABLES[kind]
        self._head_and_rows = _HEAD_AND_ROWS[kind]
        self._head: dict[str, list[Any]] = {name: [] for name in self._table.head}
        self._values: dict[str, list[Any]] = {name: [] for name in self._table.rows}
        self._plausible: list[bool] = []
        self._bucket: list[int] = []
        self._counts: list[int] = []
        self._number: list[int] = []
        self.unsure: set[tuple[str, str, int]] = set()
        self.rows = 0

    def take(self, record: Record, known: ReceivedLog) -> bool:
        """Add a record; whether it is new."""
        facts = facts_of(record)
        message: Any = decode(record.value or b"", KINDS[self._kind])
        head, rows = self._head_and_rows(message, facts)
        _require_instants(head, rows, facts)
        new = known.is_new(facts, message)
        if new is None:
            issue = (facts.site, facts.name or "", message.issued_at_ms)
            new = issue not in self.unsure
            self.unsure.add(issue)
        if not new:
            return False
        if self._kind == topics.STATUS:
            head["payload"] = (record.value or b"").decode()
            self._number.append(message.at_ms)
        elif self._kind == topics.SERIES:
            self._number.append(message.issued_at_ms)
        else:
            self._number.append(message.sequence)
        count = 0
        for name, column in rows.items():
            self._values[name].extend(column)
            count = len(column)
        head["site"], head["received_at"] = facts.site, facts.received_ms
        for name, value in head.items():
            self._head[name].append(value)
        self._plausible.append(facts.plausible)
        self._bucket.append(bucket(facts.site))
        self._counts.append(count)
        self.rows += count
        return True

    def frame(self) -> pl.DataFrame:
        """All rows, sorted."""
        head = _frame(self._head, self._table.head).with_columns(
            pl.Series("bucket", self._bucket, dtype=pl.Int32), pl.Series("_plausible", self._plausible, dtype=pl.Boolean)
        )
        message = np.repeat(np.arange(len(self._counts), dtype=np.int64), self._counts)
        whole = pl.concat([head[message], _frame(self._values, self._table.rows)], how="horizontal")
        # an instant that cannot be true makes no partition of its own
        at = pl.when("_plausible").then(self._table.time).otherwise("received_at")
        whole = whole.with_columns(at.dt.strftime("%Y-%m").alias("month"))
        return whole.select(list(self._table.columns)).sort("bucket", "month", *self._table.sort_by, maintain_order=True)

    def taken(self) -> pl.DataFrame:
        """Sequences by site and stream, issues by site and name, instants by site."""
        streams = self._head.get("stream") or self._head.get("name") or [""] * len(self._number)
        columns = {"site": self._head["site"], "stream": streams, "number": self._number}
        return pl.DataFrame(columns, schema={"site": pl.String, "stream": pl.String, "number": pl.Int64})


def _frame(columns: dict[str, list[Any]], types: Mapping[str, Kind]) -> pl.DataFrame:
    series = []
    for name, values in columns.items():
        kind = types[name]
        if kind == INSTANT:
            series.append((pl.Series(name, values, dtype=pl.Int64) * 1000).cast(INSTANT))
        else:
            series.append(pl.Series(name, values, dtype=kind))
    return pl.DataFrame(series)


_INSTANTS: Final = frozenset(("at", "start_at", "valid_at", "issued_at"))


def _require_instants(head: dict[str, Any], rows: dict[str, Sequence[Any]], facts: Facts) -> None:
    instants = [head[name] for name in _INSTANTS & head.keys()] + [facts.received_ms]
    for name in _INSTANTS & rows.keys():
        if rows[name]:
            instants += [min(rows[name]), max(rows[name])]
    if min(instants) < MS_MIN or max(instants) >= MS_MAX:
        raise out_of_range(facts.site)


HeadAndRows = tuple[dict[str, Any], dict[str, Sequence[Any]]]


def _sent(message: Any) -> dict[str, Any]:  # noqa: ANN401  any message of the outbox
    return {"stream": message.stream, "sequence": message.sequence}


def _times(start_ms: int, step_s: int, count: int) -> range:
    return range(start_ms, start_ms + 1000 * step_s * count, 1000 * step_s)


def _series(m: Series, facts: Facts) -> HeadAndRows:
    head = {"name": facts.name, "issued_at": m.issued_at_ms, "step_s": m.step_s, "unit": m.unit}
    return head, {"valid_at": _times(m.start_ms, m.step_s, len(m.values)), "value": m.values}


def _forecast(m: Forecast, _: Facts) -> HeadAndRows:
    if m.release > 2**31 - 1:
        raise MessageError("invalid", f"release {m.release} is beyond what a manifest may say")
    head = {**_sent(m), "signal": m.signal, "issued_at": m.issued_at_ms, "quantiles": m.quantiles}
    n = len(m.values)
    rows = {"valid_at": _times(m.issued_at_ms, m.step_s, n), "lead": range(n), "values": m.values}
    return {**head, "release": m.release, "reason": m.reason}, rows


def _schedule(m: Schedule, _: Facts) -> HeadAndRows:
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


def _setpoint(m: Setpoint, _: Facts) -> HeadAndRows:
    head = {**_sent(m), "issued_at": m.issued_at_ms, "valid_for_s": m.valid_for_s, "mode": m.mode.value}
    rows: dict[str, Sequence[Any]] = {"equipment": list(m.power_kw), "power_kw": list(m.power_kw.values())}
    return {**head, "fallback": m.fallback.value, "reason": m.reason}, rows


def _status(m: Status, _: Facts) -> HeadAndRows:
    return {"time_zone": m.time_zone, "mode": m.mode.value}, {"at": [m.at_ms]}


_HEAD_AND_ROWS: Final[dict[str, Callable[[Any, Facts], HeadAndRows]]] = {
    topics.SERIES: _series,
    topics.FORECAST: _forecast,
    topics.SCHEDULE: _schedule,
    topics.SETPOINT: _setpoint,
    topics.STATUS: _status,
}
