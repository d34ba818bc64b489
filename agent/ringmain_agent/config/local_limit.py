"""`[local_limit.<name>]`: a limit that comes by feed, as positions of a contact or as values."""

import math
from collections.abc import Iterator

from msgspec import Struct

from ringmain_agent.site.nameplates import NotNegative


class PccLimits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Import and export limit at the pcc; `None` sets none."""

    import_kw: NotNegative | None = None
    export_kw: NotNegative | None = None


class LocalLimit(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Either `feed` with the limits of its `positions`, or signals of their own in `import_kw` and `export_kw`.

    `silent` holds while the feed is unheard or stale, or at an unknown position.
    """

    silent: PccLimits
    feed: str | None = None
    positions: dict[str, PccLimits] = {}
    import_kw: str | None = None
    export_kw: str | None = None

    @property
    def signals(self) -> tuple[str, ...]:
        """Signals that it needs."""
        return tuple(signal for signal in (self.feed, self.import_kw, self.export_kw) if signal is not None)

    def at_position(self, position: float) -> PccLimits | None:
        """The limits at a position, `None` if it is unknown."""
        return next((limits for text, limits in self.positions.items() if float(text) == position), None)


def local_limit_problems(limit: LocalLimit) -> Iterator[str]:
    """Problems of a local limit."""
    by_value = limit.import_kw is not None or limit.export_kw is not None
    if (limit.feed is None) == (not by_value):
        yield "needs either feed with positions, or import_kw and export_kw as names of signals"
    elif (limit.feed is None) == bool(limit.positions):
        yield "feed and positions belong together"
    for signal in (limit.import_kw, limit.export_kw):
        if signal is not None and not signal.endswith("_kw"):
            yield f"signal {signal!r} must end in _kw"
    numbers = [_number(text) for text in limit.positions]
    for text, number in zip(limit.positions, numbers, strict=True):
        if not math.isfinite(number):
            yield f"position {text!r} is not a number"
        elif numbers.count(number) > 1:
            yield f"position {text!r} is there twice: positions compare as numbers"
    for key in ("import_kw", "export_kw"):
        limits_it = getattr(limit, key) is not None or any(getattr(one, key) is not None for one in limit.positions.values())
        if limits_it and getattr(limit.silent, key) is None:
            yield f"silent needs {key}: without it, silence would open this limit"


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
