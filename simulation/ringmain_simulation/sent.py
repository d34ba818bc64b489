"""All readings of the simulated sensors, in compact form, for a comparison with the history."""

from __future__ import annotations

from array import array
from collections.abc import Iterable

from ringmain_protocol.steps import Reading


class SentReadings:
    """Times and values of every reading, by site and signal, in order of time. A repeated reading counts once."""

    def __init__(self) -> None:
        self._columns: dict[str, dict[str, tuple[array[int], array[float]]]] = {}

    def add(self, site: str, readings: Iterable[Reading]) -> None:
        """Note readings that are about to be sent for the first time."""
        signals = self._columns.setdefault(site, {})
        for signal, at_ms, value, _ in readings:
            if value is None:
                continue
            times, values = signals.setdefault(signal, (array("q"), array("d")))
            times.append(at_ms)
            values.append(value)

    @property
    def sites(self) -> list[str]:
        """Sites with readings."""
        return list(self._columns)

    def signals(self, site: str) -> list[str]:
        """Signals of a site with readings."""
        return list(self._columns.get(site, {}))

    def column(self, site: str, signal: str) -> tuple[array[int], array[float]]:
        """Times in ms and values of one signal, in order."""
        return self._columns[site][signal]

    def count(self, site: str | None = None) -> int:
        """Number of readings of one site, or of all of them."""
        sites = self._columns if site is None else [site]
        return sum(len(times) for name in sites for times, _ in self._columns.get(name, {}).values())
