"""Limits that come by feed: contacts of ripple control, a control box, a SCADA point. Pure.

They hold without upstream. While a feed has not been heard live, its value may narrow the limits of silence, never widen.
"""

from collections.abc import Callable, Iterator, Mapping

from ringmain_agent.config.local_limit import LocalLimit, PccLimits
from ringmain_agent.inputs.limit_source import LimitSource, narrowest
from ringmain_agent.snapshot import Reason
from ringmain_protocol.messages import ReasonCode


class LocalLimits:
    """The local limits of a site; feed messages tell which of their signals were heard live, or as retained values."""

    def __init__(self, limits: Mapping[str, LocalLimit]) -> None:
        """Nothing heard yet."""
        self._limits = dict(limits)
        self.signals = frozenset(signal for limit in limits.values() for signal in limit.signals)
        self._live: set[str] = set()
        self._retained: dict[str, float] = {}

    def hear(self, signal: str, value: float | None, *, retained: bool) -> None:
        """Note the value of a message."""
        if signal not in self.signals:
            return
        if not retained:
            self._live.add(signal)
            self._retained.pop(signal, None)
        elif value is not None and signal not in self._live:
            self._retained[signal] = value

    def sources(self, fresh: Callable[[str], float | None], instants: int) -> Iterator[LimitSource]:
        """Limits in force for a number of instants: each holds on until its feed says otherwise."""
        for name, limit in self._limits.items():
            limits, silent = self._present(limit, fresh)
            reason = None
            if silent:
                text = (
                    f"local limit {name}: {', '.join(silent)} silent or at an unknown position; its limits of silence hold"
                )
                reason = Reason(ReasonCode.LOCAL_LIMIT_SILENT, text, name)
            title = f"silence of local limit {name}" if silent else f"local limit {name}"
            yield LimitSource(title, [limits.import_kw] * instants, [limits.export_kw] * instants, reason)

    def _present(self, limit: LocalLimit, fresh: Callable[[str], float | None]) -> tuple[PccLimits, list[str]]:
        """The limits in force, and the signals that are not known."""
        if limit.feed is not None:
            heard = self._heard(limit.feed, fresh)
            position = None if heard is None else limit.at_position(heard)
            if position is None:
                return limit.silent, [limit.feed]
            return (position, []) if self._is_live(limit.feed) else (_narrower(position, limit.silent), [limit.feed])
        import_kw, import_silent = self._value(limit.import_kw, limit.silent.import_kw, fresh)
        export_kw, export_silent = self._value(limit.export_kw, limit.silent.export_kw, fresh)
        return PccLimits(import_kw=import_kw, export_kw=export_kw), [*import_silent, *export_silent]

    def _value(
        self, signal: str | None, silent_kw: float | None, fresh: Callable[[str], float | None]
    ) -> tuple[float | None, list[str]]:
        if signal is None:
            return silent_kw, []
        value = self._heard(signal, fresh)
        if value is None or value < 0:
            return silent_kw, [signal]
        return (value, []) if self._is_live(signal) else (narrowest((value, silent_kw)), [signal])

    def _heard(self, signal: str, fresh: Callable[[str], float | None]) -> float | None:
        return fresh(signal) if self._is_live(signal) else self._retained.get(signal, fresh(signal))

    def _is_live(self, signal: str) -> bool:
        return signal in self._live


def _narrower(first: PccLimits, second: PccLimits) -> PccLimits:
    return PccLimits(
        import_kw=narrowest((first.import_kw, second.import_kw)), export_kw=narrowest((first.export_kw, second.export_kw))
    )
