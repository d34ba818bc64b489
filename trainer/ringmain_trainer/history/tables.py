"""The history tables: names, columns, partitions. `bucket` divides the sites, `month` the time; nothing is read here.

A new column goes into its table here as one that may be null; then `VERSION` rises by one and `migrations` says how an older
table gets it.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Final, NamedTuple

import polars as pl

from ringmain_protocol import topics

VERSION: Final = 2
"""Version of the tables that this trainer writes: layout and columns. Each table says its own in a property."""

BUCKETS: Final = 320
"""Number of partitions of each table over which sites are spread.

The bucket of a site is less than 1 in 256 of the table also with a thousand sites, which leave some buckets empty. With ten
thousand, a bucket and month of quarter-hours is a file of some megabytes.
"""

LANDING: Final = -1
"""Bucket of rows that came in small commits and wait to be moved to their own; a site has rows there as well."""

INSTANT: Final = pl.Datetime("us", "UTC")
PARTITIONED_BY: Final = ("bucket", "month")

Kind = pl.DataType | type[pl.DataType]


class Table(NamedTuple):
    """A history table: columns of a message, columns of its rows, the column that decides about the month."""

    name: str
    head: Mapping[str, Kind]
    rows: Mapping[str, Kind]
    time: str

    @property
    def channel(self) -> str:
        """The column of the signal, series or equipment of a row; `site` if there is none."""
        return next((name for name in ("signal", "name", "equipment") if name in self.columns), "site")

    @property
    def sort_by(self) -> list[str]:
        """Order of the rows in compacted files: who, what, when."""
        order = ("site", "name", "signal", "equipment", "issued_at", "start_at", "at", "valid_at", "received_at", "sequence")
        return [name for name in order if name in self.head or name in self.rows]

    @property
    def columns(self) -> dict[str, Kind]:
        """All columns with their types, partition columns last."""
        whole: dict[str, Kind] = {**self.head, **self.rows, "bucket": pl.Int32, "month": pl.String}
        return {name: whole[name] for name in _ORDER if name in whole}


_ORDER: Final = (
    *("site", "stream", "sequence", "name", "signal", "issued_at", "start_at", "at", "valid_at", "step_s", "lead", "unit"),
    *("valid_for_s", "mode", "fallback", "equipment", "power_kw", "soc_kwh", "pcc_kw", "value", "quality", "quantiles"),
    *("values", "release", "payload", "time_zone", "reason", "received_at", "time_plausible", "bucket", "month"),
)

_FROM: Final[dict[str, Kind]] = {"site": pl.String, "stream": pl.String, "sequence": pl.Int64, "received_at": INSTANT}
_FLOATS: Final = pl.List(pl.Float64)

TABLES: Final = {
    topics.READINGS: Table(
        "readings",
        {**_FROM, "time_plausible": pl.Boolean},
        {"signal": pl.String, "at": INSTANT, "value": pl.Float64, "quality": pl.Int8},
        "at",
    ),
    topics.STEPS: Table(
        "steps",
        {**_FROM, "step_s": pl.Int32},
        {"signal": pl.String, "start_at": INSTANT, "value": pl.Float32, "quality": pl.Int8},
        "start_at",
    ),
    topics.SERIES: Table(
        "series",
        {
            "site": pl.String,
            "name": pl.String,
            "issued_at": INSTANT,
            "step_s": pl.Int32,
            "unit": pl.String,
            "received_at": INSTANT,
        },
        {"valid_at": INSTANT, "value": pl.Float64},
        "issued_at",
    ),
    topics.FORECAST: Table(
        "forecasts",
        {
            **_FROM,
            "signal": pl.String,
            "issued_at": INSTANT,
            "quantiles": _FLOATS,
            "release": pl.Int32,
            "reason": pl.String,
        },
        {"valid_at": INSTANT, "lead": pl.Int32, "values": _FLOATS},
        "issued_at",
    ),
    topics.SCHEDULE: Table(
        "schedules",
        {**_FROM, "issued_at": INSTANT, "fallback": pl.String},
        {
            "valid_at": INSTANT,
            "equipment": pl.String,
            "power_kw": pl.Float64,
            "soc_kwh": pl.Float64,
            "pcc_kw": pl.Float64,
        },
        "issued_at",
    ),
    topics.SETPOINT: Table(
        "setpoints",
        {
            **_FROM,
            "issued_at": INSTANT,
            "valid_for_s": pl.Float64,
            "mode": pl.String,
            "fallback": pl.String,
            "reason": pl.String,
        },
        {"equipment": pl.String, "power_kw": pl.Float64},
        "issued_at",
    ),
    topics.STATUS: Table(
        "status",
        {"site": pl.String, "payload": pl.String, "time_zone": pl.String, "mode": pl.String, "received_at": INSTANT},
        {"at": INSTANT},
        "at",
    ),
}
"""The history table of each kind of message."""


def bucket(site: str) -> int:
    """Partition of the site: the first four bytes of its SHA-256 as a whole number, modulo `BUCKETS`."""
    return int.from_bytes(sha256(site.encode()).digest()[:4], "big") % BUCKETS
