"""Kafka records to the columns of the history tables. Pure: nothing is read or written here.

A message becomes one head (site, sequence, ...) and some rows (a value each); the heads are repeated only when the frame is
made, all at once. Readings and steps, which are nearly everything that comes, take a fast way: their numbers go into growing
columns, their names are looked up as bytes among those seen before. What the fast way does not take, for whatever reason,
the protocol's own decoder judges.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, get_type_hints

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from ringmain_protocol import topics
from ringmain_protocol.errors import MessageError
from ringmain_protocol.messages import (
    MAX_MESSAGE_BYTES,
    Forecast,
    Readings,
    Schedule,
    Series,
    Setpoint,
    Status,
    Steps,
    decode,
)
from ringmain_trainer.history.sequence_ranges import Newest, Ranges
from ringmain_trainer.history.string_codes import Codes, DecodedArrays, StringCodes
from ringmain_trainer.history.tables import INSTANT, TABLES, Kind, bucket

_MS_MIN: Final = -62_135_596_800_000  # year 1
_MS_MAX: Final = 253_370_764_800_000  # year 9999
_FLOAT32_MAX: Final = float(np.finfo(np.float32).max)
_CHUNK: Final = 50_000
"""Rows that are held as Python's numbers; beyond, they become arrays of a quarter of the size."""

_SORTABLE: Final = 2**62


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


class ReceivedLog:
    """What the history already holds: sequences by (site, stream), newest issues by (site, series), last status by site.

    All streams of a site's outbox count one sequence over all kinds, so the ranges are few although each kind alone has
    holes.
    """

    def __init__(self) -> None:
        self.sequences: dict[tuple[str, str], Ranges] = {}
        self.issues: dict[tuple[str, str], Newest] = {}
        self.status: dict[str, int] = {}

    def is_new(self, facts: Facts, message: object) -> bool | None:
        """Remember the message; whether it had not been seen before. None for an issue that is too old to be remembered."""
        if isinstance(message, Series):
            key = (facts.site, facts.name or "")
            return self.issues.setdefault(key, Newest()).add(message.issued_at_ms)
        if isinstance(message, Status):  # retained, so a bridge that reconnects delivers the last one again
            new = self.status.get(facts.site) != message.at_ms
            self.status[facts.site] = message.at_ms
            return new
        return self.is_new_sequence(facts.site, message.stream, message.sequence)  # type: ignore[attr-defined]

    def is_new_sequence(self, site: str, stream: str, sequence: int) -> bool:
        """Remember a message of an outbox; whether it had not been seen before."""
        ranges = self.sequences.get((site, stream))
        if ranges is None:
            ranges = self.sequences[site, stream] = Ranges()
        return ranges.add(sequence)


class Names:
    """Texts that all batches share, so that each is looked at once."""

    def __init__(self) -> None:
        self.sites = StringCodes()
        self.streams = StringCodes()
        self.signals = StringCodes()
        self.signal_arrays = DecodedArrays(_TYPES["signals"], self.signals)
        self.quality_arrays = DecodedArrays(_TYPES["quality"])
        self.site_keys: dict[bytes | None, tuple[str, int]] = {}
        """Name and number of a site by the key of its records."""
        self._buckets: list[int] = []

    def new_site(self, site: str) -> tuple[str, int]:
        """Name and number of a site."""
        found = self.site_keys[site.encode()] = (site, self.sites.code(site))
        return found

    def buckets(self) -> NDArray[np.int32]:
        """Bucket of each site, by its number."""
        self._buckets += [bucket(site) for site in self.sites.names()[len(self._buckets) :]]
        return np.array(self._buckets, dtype=np.int32)


class Batch:
    """Messages of one kind on their way into one table."""

    def __init__(self, kind: str, names: Names | None = None) -> None:
        self.table = TABLES[kind]
        self._rows: _Values | _Messages
        if kind in (topics.READINGS, topics.STEPS):
            self._rows = _Values(kind, names or Names())
        else:
            self._rows = _Messages(kind)
        self.rejected: Counter[str] = Counter()
        self.duplicates = 0

    @property
    def rows(self) -> int:
        """Rows so far."""
        return self._rows.rows

    @property
    def unsure(self) -> set[tuple[str, str, int]]:
        """Series (site, name, issue) that are in this batch and may be in the history: too old to be remembered."""
        return self._rows.unsure

    def add(self, record: Record, known: ReceivedLog) -> MessageError | None:
        """Take one record in, unless it was seen before; the error says why it could not be used."""
        try:
            new = self._rows.take(record, known)
        except MessageError as error:
            self.rejected[error.reason] += 1
            return error
        self.duplicates += not new
        return None

    def frame(self) -> pl.DataFrame:
        """All rows, sorted by partition, then as `tables.Table.sort_by`."""
        return self._rows.frame()

    def taken(self) -> pl.DataFrame:
        """What the messages are known by: `site`, `stream` (the name of a series), `number` (sequence, issue or instant)."""
        return self._rows.taken()


class _Values:
    """Readings or steps as columns of numbers."""

    def __init__(self, kind: str, names: Names) -> None:
        self._names = names
        self._kind = _KINDS[kind]
        self._decoder = _FAST[kind]
        self._is_steps = kind == topics.STEPS
        self._columns = list(TABLES[kind].columns)
        self._site: list[int] = []
        self._stream: list[int] = []
        self._sequence: list[int] = []
        self._step_s: list[int] = []
        self._received_ms: list[int] = []
        self._plausible: list[bool] = []
        self._signal: list[Codes] = []
        self._quality: list[Codes] = []
        self._at_ms: list[int] = []
        self._value: list[float | None] = []
        self._packed: list[tuple[NDArray[np.int64], NDArray[np.float64]]] = []
        self.unsure: set[tuple[str, str, int]] = set()
        self.rows = 0

    def take(self, record: Record, known: ReceivedLog) -> bool:
        """Add a record; whether it is new."""
        names, key, value = self._names, record.key, record.value
        known_site = names.site_keys.get(key)
        if known_site is None or value is None:
            site, code = names.new_site(facts_of(record).site)
        else:
            site, code = known_site
        received_ms, plausible = record.timestamp_ms, True
        for name, header in record.headers:
            if name == "received_ms":
                usable = header and header.isdigit() and len(header) < 16
                received_ms = int(header) if usable else record.timestamp_ms  # type: ignore[arg-type]
            elif name == "implausible_time":
                plausible = header != b"1"
        sent = self._read(value or b"")
        at_ms, signal = sent.at_ms, sent.signals
        low, high = (min(at_ms), max(at_ms)) if at_ms else (received_ms, received_ms)
        if low < _MS_MIN or high >= _MS_MAX or not _MS_MIN <= received_ms < _MS_MAX:
            raise _out_of_range(site)
        if not known.is_new_sequence(site, sent.stream, sent.sequence):
            return False
        self._site.append(code)
        self._stream.append(names.streams.code(sent.stream))
        self._sequence.append(sent.sequence)
        if self._is_steps:
            self._step_s.append(sent.step_s)
        self._received_ms.append(received_ms)
        self._plausible.append(plausible)
        self._signal.append(signal)
        self._quality.append(sent.quality)
        self._at_ms.extend(at_ms)
        self._value.extend(sent.values)
        self.rows += len(at_ms)
        if len(self._at_ms) >= _CHUNK:
            self._pack()
        return True

    def frame(self) -> pl.DataFrame:
        """All rows, sorted."""
        self._pack()
        at_ms = np.concatenate([at for at, _ in self._packed])
        value = np.concatenate([values for _, values in self._packed])
        none = np.empty(0, np.int32)
        signal, quality = np.concatenate([none, *self._signal]), np.concatenate([none, *self._quality])
        message = np.repeat(np.arange(len(self._site), dtype=np.int32), [len(codes) for codes in self._signal])
        site, received_ms = np.array(self._site, np.int32)[message], np.array(self._received_ms, np.int64)[message]
        # an instant that cannot be true makes no partition of its own
        instant = np.where(np.array(self._plausible, np.bool_)[message], at_ms, received_ms)
        month, months = _months(instant)
        buckets = self._names.buckets()[site]
        order = self._order((buckets, month, self._names.sites.ranks()[site], self._names.signals.ranks()[signal]), at_ms)
        message, site = message[order], site[order]
        if self._is_steps:
            value[np.abs(value) > _FLOAT32_MAX] = np.nan
        columns: dict[str, pl.Series] = {
            "site": self._names.sites.series().gather(site),
            "stream": self._names.streams.series().gather(np.array(self._stream, np.int32)[message]),
            "sequence": pl.Series(np.array(self._sequence, np.int64)[message]),
            "signal": self._names.signals.series().gather(signal[order]),
            "start_at" if self._is_steps else "at": _instants(at_ms[order]),
            "value": pl.Series(value[order].astype(np.float32 if self._is_steps else np.float64), nan_to_null=True),
            "quality": pl.Series(quality[order].astype(np.int8)),
            "received_at": _instants(received_ms[order]),
            "bucket": pl.Series(buckets[order]),
            "month": months.gather(month[order]),
        }
        if self._is_steps:
            columns["step_s"] = pl.Series(np.array(self._step_s, np.int32)[message])
        else:
            columns["time_plausible"] = pl.Series(np.array(self._plausible, np.bool_)[message])
        return pl.DataFrame({name: columns[name] for name in self._columns})

    def taken(self) -> pl.DataFrame:
        """Sequences by site and stream."""
        sites, streams = self._names.sites.series(), self._names.streams.series()
        site, stream = np.array(self._site, np.int32), np.array(self._stream, np.int32)
        number = pl.Series(self._sequence, dtype=pl.Int64)
        return pl.DataFrame({"site": sites.gather(site), "stream": streams.gather(stream), "number": number})

    def _read(self, value: bytes) -> Any:  # noqa: ANN401  a message whose names and qualities are numbers
        try:
            if len(value) <= MAX_MESSAGE_BYTES:
                sent = self._decoder.decode(str(value, "utf-8"))  # msgspec would not look into fields that it skips
                sent.signals = self._names.signal_arrays.read(sent.signals)
                sent.quality = self._names.quality_arrays.read(sent.quality)
                count = len(sent.signals)
                if sent.stream in self._names.streams and count == len(sent.at_ms) == len(sent.values) == len(sent.quality):
                    return sent
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # a ValidationError is a DecodeError
            return self._read_strictly(value)
        return self._read_strictly(value)

    def _read_strictly(self, value: bytes) -> Any:  # noqa: ANN401
        message: Any = decode(value, self._kind)
        signals = np.array([self._names.signals.code(name) for name in message.signals], np.int32)
        parts = msgspec.structs.asdict(message) | {"signals": signals, "quality": np.array(message.quality, np.int32)}
        return _Sent(**parts)

    def _pack(self) -> None:
        self._packed.append((np.array(self._at_ms, np.int64), np.array(self._value, np.float64)))
        self._at_ms, self._value = [], []

    @staticmethod
    def _order(keys: tuple[NDArray[Any], ...], at_ms: NDArray[np.int64]) -> NDArray[np.intp]:
        """Order by the keys, small whole numbers, then by time."""
        if not len(at_ms):
            return np.empty(0, np.intp)
        key, size = np.zeros(len(at_ms), np.int64), 1
        for part in keys:
            count = int(part.max()) + 1
            key, size = key * count + part, size * count
        first = int(at_ms.min())
        span = int(at_ms.max()) - first + 1
        if size * span < _SORTABLE:  # one number to sort by is three times as fast
            return np.argsort(key * span + (at_ms - first))
        return np.lexsort((at_ms, key)) if size < _SORTABLE else np.lexsort((at_ms, *keys[::-1]))


class _Messages:
    """Messages of the other kinds, as columns of Python values."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._table = TABLES[kind]
        self._take = _TAKE[kind]
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
        message: Any = decode(record.value or b"", _KINDS[self._kind])
        head, rows = self._take(message, facts)
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


def _months(at_ms: NDArray[np.int64]) -> tuple[NDArray[np.int64], pl.Series]:
    """Numbers of the months of instants, in order, and their texts."""
    month = at_ms.astype("datetime64[ms]").astype("datetime64[M]").astype(np.int64)
    first = int(month.min()) if len(month) else 0
    month -= first
    texts = np.arange(first, first + int(month.max(initial=-1)) + 1).astype("datetime64[M]").astype(str)
    return month, pl.Series(texts.tolist(), dtype=pl.String)


def _instants(at_ms: NDArray[np.int64]) -> pl.Series:
    return pl.Series(at_ms * 1000).cast(INSTANT)


def _frame(columns: dict[str, list[Any]], types: Mapping[str, Kind]) -> pl.DataFrame:
    made = []
    for name, values in columns.items():
        kind = types[name]
        if kind == INSTANT:
            made.append((pl.Series(name, values, dtype=pl.Int64) * 1000).cast(INSTANT))
        else:
            made.append(pl.Series(name, values, dtype=kind))
    return pl.DataFrame(made)


def facts_of(record: Record) -> Facts:
    """What stands around a payload.

    Raises:
        MessageError: If there is no site, no value, or no name of a series.
    """
    site = (record.key or b"").decode("ascii", "replace")
    if not topics.is_site(site):
        raise MessageError("no_site", f"key {site[:80]!r} is not a site id")
    if record.value is None:
        raise MessageError("no_value", "record without a value")
    headers = dict(record.headers)
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
        raise _out_of_range(facts.site)


def _out_of_range(site: str) -> MessageError:
    return MessageError("time_out_of_range", f"an instant of {site} is beyond the years 1 to 9998")


Taken = tuple[dict[str, Any], dict[str, Sequence[Any]]]


def _sent(message: Any) -> dict[str, Any]:  # noqa: ANN401  any message of the outbox
    return {"stream": message.stream, "sequence": message.sequence}


def _times(start_ms: int, step_s: int, count: int) -> range:
    return range(start_ms, start_ms + 1000 * step_s * count, 1000 * step_s)


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

_TYPES: Final = get_type_hints(Steps, include_extras=True)


class _Sent(msgspec.Struct, kw_only=True, gc=False):
    """A batch of readings or steps; its names and qualities are as they came, then numbers."""

    stream: str
    sequence: Any
    signals: Any
    at_ms: Any
    values: Any
    quality: Any
    step_s: Any = 0


def _fast(*names: str) -> msgspec.json.Decoder[Any]:
    """Decoder that leaves names and qualities as bytes, and does not look at the stream."""
    types = _TYPES | {"stream": str, "signals": msgspec.Raw, "quality": msgspec.Raw}
    return msgspec.json.Decoder(msgspec.defstruct("_Fast", [(name, types[name]) for name in names], kw_only=True, gc=False))


_FAST: Final[dict[str, msgspec.json.Decoder[Any]]] = {
    topics.READINGS: _fast(*(name for name in _TYPES if name != "step_s")),
    topics.STEPS: _fast(*_TYPES),
}
