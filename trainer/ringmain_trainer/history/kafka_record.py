"""A Kafka record, the facts beside its payload, and the log of messages that the history already holds. Pure."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ringmain_protocol import topics
from ringmain_protocol.errors import MessageError
from ringmain_protocol.messages import Forecast, Readings, Schedule, Series, Setpoint, Status, Steps
from ringmain_trainer.history.sequence_ranges import Newest, Ranges
from ringmain_trainer.history.tables import INSTANT

MS_MIN: Final = -62_135_596_800_000  # year 1
MS_MAX: Final = 253_370_764_800_000  # year 9999
KINDS: Final[dict[str, type[Any]]] = {
    topics.READINGS: Readings,
    topics.STEPS: Steps,
    topics.SERIES: Series,
    topics.FORECAST: Forecast,
    topics.SCHEDULE: Schedule,
    topics.SETPOINT: Setpoint,
    topics.STATUS: Status,
}


class Record(NamedTuple):
    """One Kafka record, as far as the history needs it."""

    kind: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]
    timestamp_ms: int


class Facts(NamedTuple):
    """The facts beside a payload: site, name of the series, receipt by the bridge, and whether its time can be true."""

    site: str
    name: str | None
    received_ms: int
    plausible: bool


class ReceivedLog:
    """Messages in the history: sequences by (site, stream), newest issues by (site, series), last status by site.

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


def facts_of(record: Record) -> Facts:
    """The facts beside a payload.

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


def out_of_range(site: str) -> MessageError:
    """The error of a message with an instant that no table can hold."""
    return MessageError("time_out_of_range", f"an instant of {site} is beyond the years 1 to 9998")


def instants_of(at_ms: NDArray[np.int64]) -> pl.Series:
    """Milliseconds as a column of instants."""
    return pl.Series(at_ms * 1000).cast(INSTANT)
