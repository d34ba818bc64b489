"""Sequences that have arrived in Kafka, by site and stream, and the receipts that are due. Pure, for one thread.

The disk holds none of it: after a restart the ranges start with the first message of a stream, and the agent sends the
missing ones below again. A sequence that arrives twice is published again: its agent evidently has no receipt.
"""

from bisect import bisect_right
from typing import Final

from ringmain_protocol.messages import RECEIPT_RANGES_MAX, Receipt

MAX_RANGES: Final = RECEIPT_RANGES_MAX
"""Ranges of one receipt; beyond, the lowest are forgotten, and the agent sends their messages again."""

MAX_STREAMS: Final = 4
"""Streams of one site. A stream begins with a new outbox: several streams mean an exchanged or a copied gateway."""


class _Site:
    """Ranges of a site's streams; the stream of the newest message comes last."""

    __slots__ = ("heard_s", "newest", "published_s", "streams", "unpublished")

    def __init__(self) -> None:
        self.streams: dict[str, list[tuple[int, int]]] = {}
        self.newest = ""
        self.unpublished: set[str] = set()
        self.published_s = float("-inf")
        self.heard_s = 0.0


class Receipts:
    """Collects sequences and yields receipts, at most one round per site and interval.

    Invariants:
        - A receipt covers only sequences noted as arrived.
        - Ranges are disjoint, ascending, and not adjacent.
    """

    def __init__(self, *, interval_s: float, expiry_s: float, sites_max: int) -> None:
        self._interval_s = interval_s
        self._expiry_s = expiry_s
        self._sites_max = sites_max
        self._sites: dict[str, _Site] = {}
        self._unpublished: set[str] = set()

    def arrived(self, site: str, stream: str, sequence: int, *, now_s: float) -> None:
        """Note that Kafka has confirmed this message, in its topic or in the dead letters."""
        state = self._sites.get(site)
        if state is None:
            if len(self._sites) >= self._sites_max:
                self._forget(min(self._sites, key=lambda name: self._sites[name].heard_s))
            state = self._sites[site] = _Site()
        if stream == state.newest:
            ranges = state.streams[stream]
        else:
            ranges = state.streams.pop(stream, [])
            state.streams[stream] = ranges
            state.newest = stream
            if len(state.streams) > MAX_STREAMS:
                oldest = next(iter(state.streams))
                del state.streams[oldest]
                state.unpublished.discard(oldest)
        if ranges and ranges[-1][1] + 1 == sequence:  # the common case
            ranges[-1] = (ranges[-1][0], sequence)
        else:
            _include(ranges, sequence)
            del ranges[:-MAX_RANGES]
        state.heard_s = now_s
        state.unpublished.add(stream)
        self._unpublished.add(site)

    def due(self, *, now_s: float) -> list[tuple[str, Receipt]]:
        """Receipts to publish now, in this order; they count as published."""
        receipts = []
        for site in [s for s in self._unpublished if now_s - self._sites[s].published_s >= self._interval_s]:
            state = self._sites[site]
            receipts += [
                (site, Receipt(stream=s, ranges=list(r))) for s, r in state.streams.items() if s in state.unpublished
            ]
            state.unpublished.clear()
            state.published_s = now_s
            self._unpublished.discard(site)
        return receipts

    @property
    def unpublished(self) -> int:
        """Number of sites with sequences that no receipt covers yet."""
        return len(self._unpublished)

    def not_published(self, site: str, stream: str) -> None:
        """This receipt could not be published: it is due again, without delay."""
        state = self._sites.get(site)
        if state is not None and stream in state.streams:
            state.unpublished.add(stream)
            state.published_s = float("-inf")
            self._unpublished.add(site)

    def republish_all(self) -> None:
        """Make the last stream of each site due again: the broker may have lost even retained receipts."""
        for site, state in self._sites.items():
            state.unpublished.update(list(state.streams)[-1:])
            self._unpublished.add(site)

    def flush(self) -> None:
        """Make unpublished sequences due without delay; for a stop."""
        for site in self._unpublished:
            self._sites[site].published_s = float("-inf")

    def expire(self, *, now_s: float) -> None:
        """Forget sites without a message for the expiry time."""
        for site in [s for s, state in self._sites.items() if now_s - state.heard_s > self._expiry_s]:
            self._forget(site)

    def _forget(self, site: str) -> None:
        del self._sites[site]
        self._unpublished.discard(site)


def _include(ranges: list[tuple[int, int]], sequence: int) -> None:
    """Add one number to ascending, disjoint ranges."""
    at = bisect_right(ranges, sequence, key=lambda r: r[0])
    if at and sequence <= ranges[at - 1][1]:
        return
    first = last = sequence
    begin, end = at, at
    if at and ranges[at - 1][1] + 1 == sequence:
        begin, first = at - 1, ranges[at - 1][0]
    if at < len(ranges) and ranges[at][0] == sequence + 1:
        end, last = at + 1, ranges[at][1]
    ranges[begin:end] = [(first, last)]
