"""Readings and steps as columns of numbers: the fast path of nearly everything that a site sends. Pure.

Numbers go into growing columns, names are looked up as bytes among those seen before. A message that the fast decoder
refuses goes to the protocol's own decoder, which judges it.
"""

from typing import Any, Final, get_type_hints

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from ringmain_protocol import topics
from ringmain_protocol.messages import MAX_MESSAGE_BYTES, Steps, decode
from ringmain_trainer.arrays import FLOAT32_MAX
from ringmain_trainer.history.kafka_record import (
    KINDS,
    MS_MAX,
    MS_MIN,
    ReceivedLog,
    Record,
    facts_of,
    instants_of,
    out_of_range,
)
from ringmain_trainer.history.string_codes import Codes, DecodedArrays, StringCodes
from ringmain_trainer.history.tables import TABLES, bucket

_CHUNK: Final = 50_000
"""Rows that are held as Python's numbers; beyond, they become arrays of a quarter of the size."""

_SORTABLE: Final = 2**62


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


class ValueColumns:
    """Readings or steps as columns of numbers."""

    def __init__(self, kind: str, names: Names) -> None:
        self._names = names
        self._kind = KINDS[kind]
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
        if low < MS_MIN or high >= MS_MAX or not MS_MIN <= received_ms < MS_MAX:
            raise out_of_range(site)
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
            value[np.abs(value) > FLOAT32_MAX] = np.nan
        columns: dict[str, pl.Series] = {
            "site": self._names.sites.series().gather(site),
            "stream": self._names.streams.series().gather(np.array(self._stream, np.int32)[message]),
            "sequence": pl.Series(np.array(self._sequence, np.int64)[message]),
            "signal": self._names.signals.series().gather(signal[order]),
            "start_at" if self._is_steps else "at": instants_of(at_ms[order]),
            "value": pl.Series(value[order].astype(np.float32 if self._is_steps else np.float64), nan_to_null=True),
            "quality": pl.Series(quality[order].astype(np.int8)),
            "received_at": instants_of(received_ms[order]),
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


def _months(at_ms: NDArray[np.int64]) -> tuple[NDArray[np.int64], pl.Series]:
    """Numbers of the months of instants, in order, and their texts."""
    month = at_ms.astype("datetime64[ms]").astype("datetime64[M]").astype(np.int64)
    first = int(month.min()) if len(month) else 0
    month -= first
    texts = np.arange(first, first + int(month.max(initial=-1)) + 1).astype("datetime64[M]").astype(str)
    return month, pl.Series(texts.tolist(), dtype=pl.String)


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
