"""The referee: from the truth of every second, the excursions and reactions of one fault. Pure.

A second is *beyond* when the power at the connection is outside the limits that hold, and an all-knowing controller of the
same plant would have been inside or nearer. It counts from the moment at which the agent could know: while the meter is
fresh and honest it sees the excess itself; a lost meter is known `meter_lost_after_s` after its last value, a lie from the
first second in which a redundant measurement contradicts it.
"""

from collections import Counter
from typing import Final, NamedTuple

from msgspec import Struct, field

from benchmarks.failsafe.plant import Second
from benchmarks.failsafe.site import ENERGY_STALE_S, METER_LOST_AFTER_S, STALE_AFTER_S, Pair

TOLERANCE_KW: Final = 1.0
CONTRADICTION_PU: Final = 0.05
"""Share of the connection by which measurements of one second must disagree before they contradict each other."""
EXCURSION_S: Final = 15
INSIDE_S: Final = 3
"""So many seconds inside in a row end an excursion: power that swings about a limit has not come back."""


PLAUSIBLE_PU: Final = 3.0
"""A power beyond this multiple of the connection is no power of this site."""
ENERGY_DOUBT_KWH: Final = 100.0
"""An energy must be so far from the true one before integrated power contradicts it."""


class Seen(NamedTuple):
    """What reached the agent in a second: the newest value of each signal, and its age since the receipt."""

    values: dict[str, float]
    ages_s: dict[str, float]


class Tally(Struct, kw_only=True):
    """Counts of one fault, or of all."""

    longest_s: int = 0
    excursions: int = 0
    unavoidable: Counter[str] = field(default_factory=Counter)
    undetectable: Counter[str] = field(default_factory=Counter)


class Referee:
    """Watches one fault; `second` after every simulated second."""

    def __init__(self, *, connection_kw: float, powers: tuple[str, ...], why: str) -> None:
        self.tally = Tally()
        self._bound_kw = CONTRADICTION_PU * connection_kw
        self._powers = powers
        self._why = why
        self._run_s = self._inside_s = 0

    def second(self, truth: Second, owed: Pair, seen: Seen, *, commanded: bool = True) -> None:
        """One second of truth, the limits that must hold in it, and what the agent was shown."""
        over_kw = max(truth.pcc_kw - owed.import_kw, -truth.pcc_kw - owed.export_kw)
        if over_kw <= TOLERANCE_KW:
            self._inside_s += 1
            if self._inside_s >= INSIDE_S:
                self._end_run()
            return
        self._inside_s = 0
        least_kw, most_kw = truth.reachable
        if truth.pcc_kw > 0:
            avoidable_kw = truth.pcc_kw - max(owed.import_kw, least_kw)
        else:
            avoidable_kw = min(-owed.export_kw, most_kw) - truth.pcc_kw
        if avoidable_kw <= TOLERANCE_KW:
            self.tally.unavoidable[f"{self._why}: beyond the reach of equipment that obeys and whose energy is known"] += 1
            self._end_run()
        elif not commanded:
            self.tally.unavoidable[f"{self._why}: nobody could reach the equipment"] += 1
            self._end_run()
        elif not self._can_know(truth, seen):
            self.tally.undetectable[f"{self._why}: no measurement contradicts another"] += 1
        else:
            self._run_s += 1
            self.tally.longest_s = max(self.tally.longest_s, self._run_s)

    def betrays(self, signal: str, true: float, seen: Seen) -> bool:
        """Whether this signal, lost or wrong, can be known to be: by its age, by its size, or by the balance."""
        age_s = seen.ages_s.get(signal, 0.0)
        limit_s = METER_LOST_AFTER_S if signal == "pcc_kw" else ENERGY_STALE_S if signal.endswith("_kwh") else STALE_AFTER_S
        if age_s > limit_s:
            return True
        error = abs(seen.values.get(signal, true) - true)
        if signal.endswith("_kwh"):
            return error > ENERGY_DOUBT_KWH
        if abs(seen.values.get(signal, true)) > PLAUSIBLE_PU * self._bound_kw / CONTRADICTION_PU:
            return True
        balanced = {"pcc_kw", "load_kw", *self._powers}
        return error > self._bound_kw and balanced <= seen.values.keys() and signal in balanced

    def close(self) -> Tally:
        """The counts, once the fault is over."""
        self._end_run()
        return self.tally

    def _end_run(self) -> None:
        self.tally.excursions += self._run_s > EXCURSION_S
        self._run_s = 0

    def _can_know(self, truth: Second, seen: Seen) -> bool:
        if seen.ages_s.get("pcc_kw", 0.0) > METER_LOST_AFTER_S:
            return True
        shown_kw = seen.values.get("pcc_kw")
        if shown_kw is not None and abs(shown_kw - truth.pcc_kw) <= self._bound_kw:
            return True
        if shown_kw is None or "load_kw" not in seen.values:
            return False
        residual_kw = shown_kw - seen.values["load_kw"] - sum(seen.values.get(name, 0.0) for name in self._powers)
        return abs(residual_kw) > self._bound_kw
