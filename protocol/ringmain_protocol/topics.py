"""All MQTT and Kafka topics; no other module spells one.

`ringmain/1/<shard>/<site>/<kind>`; a series has its name after the kind, an envelope and its answer may have one. The shard
is two hex digits: replicas of the bridge divide the fleet by subscription, and each site stays with one of them.
"""

import re
from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple

from ringmain_protocol.errors import MessageError

PREFIX = "ringmain/1"
SHARDS = 64

READINGS = "readings"
STEPS = "steps"
FORECAST = "forecast"
SCHEDULE = "schedule"
SETPOINT = "setpoint"
STATUS = "status"
ONLINE = "online"
RECEIPT = "receipt"
SERIES = "series"
ENVELOPE = "envelope"
ANSWER = "answer"
MODEL = "model"

FORWARDED = (READINGS, STEPS, FORECAST, SCHEDULE, SETPOINT, STATUS, SERIES)
"""Kinds that the bridge forwards to Kafka."""

KAFKA_TOPICS = {
    READINGS: "ringmain.readings",
    STEPS: "ringmain.steps",
    SERIES: "ringmain.series",
    FORECAST: "ringmain.forecasts",
    SCHEDULE: "ringmain.schedules",
    SETPOINT: "ringmain.setpoints",
    STATUS: "ringmain.status",
}
"""Kafka topic of each forwarded kind."""

DEADLETTER = "ringmain.deadletter"

SIMULATION_CLOCK = "ringmain-simulation/clock"
"""Lockstep clock of simulated substations, on a loopback broker only."""

_KINDS = frozenset((READINGS, STEPS, FORECAST, SCHEDULE, SETPOINT, STATUS, ONLINE, RECEIPT, ENVELOPE, ANSWER, MODEL))
_NAMED = frozenset((SERIES, ENVELOPE, ANSWER))
_SITE = re.compile(r"[a-z0-9-]{1,63}")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")


class Topic(NamedTuple):
    """The parts of a topic; `name` is the name of a series or of an envelope, also in its answer."""

    shard: str
    site: str
    kind: str
    name: str | None = None


def is_site(text: str) -> bool:
    """Whether the text may name a site."""
    return _SITE.fullmatch(text) is not None


def is_signal(text: str) -> bool:
    """Whether the text may name a signal, a series or an envelope."""
    return _NAME.fullmatch(text) is not None


def shard(site: str) -> str:
    """Two hex digits: the first byte of the site's SHA-256 modulo 64."""
    return f"{sha256(site.encode()).digest()[0] % SHARDS:02x}"


def topic(site: str, kind: str, name: str | None = None) -> str:
    """The MQTT topic of one site and kind; a series needs a `name`, an envelope and its answer may have one.

    Raises:
        ValueError: If site, kind or name are not of the protocol.
    """
    if not is_site(site):
        raise ValueError(f"site id {site!r} must match [a-z0-9-]{{1,63}}")
    if kind == SERIES or (kind in _NAMED and name is not None):
        if name is None or not is_signal(name):
            raise ValueError(f"{kind} name {name!r} must match [a-z][a-z0-9_]{{0,62}}")
        return f"{PREFIX}/{shard(site)}/{site}/{kind}/{name}"
    if kind not in _KINDS or name is not None:
        raise ValueError(f"no topic for kind {kind!r} with name {name!r}")
    return f"{PREFIX}/{shard(site)}/{site}/{kind}"


def all_series(site: str) -> str:
    """Filter for every series of a site."""
    return f"{PREFIX}/{shard(site)}/{site}/{SERIES}/+"


def all_envelopes(site: str) -> str:
    """Filter for every envelope of a site with a name; the envelope without a name has its own topic."""
    return f"{PREFIX}/{shard(site)}/{site}/{ENVELOPE}/+"


def parse(text: str) -> Topic:
    """The parts of a topic.

    Raises:
        MessageError: With reason `unknown_topic`, also if the shard is not the one of the site.
    """
    parts = text.split("/")
    if "/".join(parts[:2]) == PREFIX and len(parts) in (5, 6) and is_site(parts[3]) and parts[2] == shard(parts[3]):
        if len(parts) == 5 and parts[4] in _KINDS:
            return Topic(parts[2], parts[3], parts[4])
        if len(parts) == 6 and parts[4] in _NAMED and is_signal(parts[5]):
            return Topic(parts[2], parts[3], parts[4], parts[5])
    raise MessageError("unknown_topic", f"{text[:200]!r} is not a topic of this protocol")


def bridge_filters(replica: int = 0, replicas: int = 1) -> list[str]:
    """Subscriptions of replica k of n bridges: the shards with `shard % n == k`.

    Raises:
        ValueError: If there is no such replica.
    """
    if not 0 <= replica < replicas <= SHARDS:
        raise ValueError(f"replica {replica} of {replicas}: must be 0 <= replica < replicas <= {SHARDS}")
    shards: Sequence[str] = ["+"] if replicas == 1 else [f"{s:02x}" for s in range(replica, SHARDS, replicas)]
    kinds = [kind for kind in (*FORWARDED, ONLINE) if kind != SERIES]
    return [f"{PREFIX}/{s}/+/{kind}" for s in shards for kind in (*kinds, f"{SERIES}/+")]


def simulation_answer(site: str) -> str:
    """Topic on which an agent in lockstep answers a tick."""
    return f"ringmain-simulation/answer/{site}"
