"""The last state of each site: online, newest status, time of the last message. Written by one thread, read by any."""

import threading
from collections.abc import Collection, Iterable
from typing import TypeVar

from msgspec import Struct

from ringmain_bridge.forwarding.forward import Forwarded, MqttMessage
from ringmain_protocol import topics
from ringmain_protocol.messages import Online, Readings, Status

Value = TypeVar("Value")


class SiteState(Struct, kw_only=True):
    """Newest state of a site.

    `last_seen_ms` is the time of receipt of its newest message, without retained messages, wills and series (which others
    send). `touched_s`, on the monotonic clock, is for the expiry only. `clock_offset_s` comes from the newest status; if it
    has none, it is the time in the status minus the time of its receipt, unless the status was retained.
    """

    site: str
    touched_s: float
    last_seen_ms: int | None = None
    online: bool | None = None
    status: Status | None = None
    clock_offset_s: float | None = None
    signals: dict[str, float] = {}


class Fleet:
    """Sites with a message within the expiry time, at most `sites_max`."""

    def __init__(self, *, expiry_s: float, sites_max: int, signals: Collection[str] = ()) -> None:
        self._expiry_s = expiry_s
        self._sites_max = sites_max
        self._signals = frozenset(signals)
        self._lock = threading.Lock()
        self._sites: dict[str, SiteState] = {}
        self._expired = self._refused = 0

    def heard(self, message: MqttMessage, forwarded: Forwarded) -> None:
        """Take in a message. A dead letter, too, proves that its site is alive."""
        site, kind, decoded = forwarded.site, forwarded.kind, forwarded.message
        if site is None or kind == topics.SERIES:
            return
        deleted = forwarded.reason is None and decoded is None
        will = isinstance(decoded, Online) and not decoded.online
        status = decoded if isinstance(decoded, Status) else None
        with self._lock:
            old = self._sites.get(site)
            if old is None:
                if len(self._sites) >= self._sites_max:
                    self._refused += 1
                    return
                old = SiteState(site=site, touched_s=message.received_s)
            live = not (message.retain or will or deleted)
            self._sites[site] = SiteState(
                site=site,
                touched_s=message.received_s if live else old.touched_s,
                last_seen_ms=message.received_ms if live else old.last_seen_ms,
                online=_newest(
                    old.online, decoded.online if isinstance(decoded, Online) else None, deleted and kind == topics.ONLINE
                ),
                status=_newest(old.status, status, deleted and kind == topics.STATUS),
                clock_offset_s=old.clock_offset_s if status is None else _clock_offset_s(status, message),
                signals=self._newest_signals(old.signals, decoded),
            )

    def alive(self, sites: Iterable[str], *, received_ms: int, received_s: float) -> None:
        """Take in messages that only prove that their sites are alive. Most messages do no more: this is the fast way."""
        with self._lock:
            for site in sites:
                state = self._sites.get(site)
                if state is None:
                    if len(self._sites) >= self._sites_max:
                        self._refused += 1
                        continue
                    state = self._sites[site] = SiteState(site=site, touched_s=received_s)
                state.touched_s = received_s
                state.last_seen_ms = received_ms

    def expire(self, *, now_s: float) -> None:
        """Forget sites without a message for the expiry time; their series disappear."""
        with self._lock:
            silent = [site for site, state in self._sites.items() if now_s - state.touched_s > self._expiry_s]
            for site in silent:
                del self._sites[site]
            self._expired += len(silent)

    def states(self) -> list[SiteState]:
        """All sites, in the order of their first messages."""
        with self._lock:
            return list(self._sites.values())

    @property
    def expired(self) -> int:
        """Number of sites forgotten so far."""
        return self._expired

    @property
    def refused(self) -> int:
        """Number of messages from sites beyond `sites_max`."""
        return self._refused

    def _newest_signals(self, signals: dict[str, float], message: Struct | None) -> dict[str, float]:
        if not self._signals or not isinstance(message, Readings):
            return signals
        columns = zip(message.at_ms, message.signals, message.values, strict=True)
        newest = {name: value for _, name, value in sorted(columns, key=lambda c: c[0]) if name in self._signals}
        return {name: value for name, value in (signals | newest).items() if value is not None}


def _clock_offset_s(status: Status, message: MqttMessage) -> float | None:
    if status.clock_offset_s is not None:
        return status.clock_offset_s
    return None if message.retain else (status.at_ms - message.received_ms) / 1000


def _newest(old: Value | None, new: Value | None, deleted: bool) -> Value | None:  # noqa: FBT001
    return None if deleted else old if new is None else new
