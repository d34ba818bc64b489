"""Which faults a seed draws: every kind before any comes again, singly and in pairs, dealt to the sites. Pure."""

from collections.abc import Sequence
from random import Random
from typing import Final

from benchmarks.failsafe.faults import KINDS, NEEDS_LOAD, Fault
from benchmarks.failsafe.site import SiteDesign

PAIR_SHARE: Final = 0.35
SPARE: Final = 2
"""Further pairs: a kind that fits no last pair must still find a place."""
REFILL: Final = 10
"""With fewer kinds in the deck, another whole set goes below them: a second fault must find one that fits."""
RUN_DRAWS: Final = 10
"""So many draws share one agent; the next ones find a new site."""

Draw = tuple[Fault, ...]
Run = tuple[SiteDesign, list[Draw]]


def draws(count: int, seed: int, designs: Sequence[SiteDesign], *, kinds: Sequence[str] = tuple(KINDS)) -> list[Run]:
    """So many single faults and pairs, in runs of one site each; pairs enough that no kind is left out where that goes."""
    random = Random(seed)  # noqa: S311  chance, not secrets
    pairs = min(max(round(PAIR_SHARE * count), len(kinds) + SPARE - count), count) if len(kinds) > 1 else 0
    sizes = [2] * pairs + [1] * (count - pairs)
    random.shuffle(sizes)
    deck: list[str] = []
    runs: dict[str, list[Run]] = {design.site: [] for design in designs}
    for number, size in enumerate(sizes):
        if len(deck) < REFILL:
            deck += random.sample(kinds, len(kinds))
        fitting = [design for design in designs if design.measures_load or not NEEDS_LOAD & set(deck[:1])]
        design = fitting[number % len(fitting)]
        first = KINDS[deck.pop(0)](design, random)
        draw = (first,) if size == 1 else (first, _second(deck, first, design, random))
        of_site = runs[design.site]
        if not of_site or len(of_site[-1][1]) >= RUN_DRAWS:
            of_site.append((design, []))
        of_site[-1][1].append(draw)
    return [run for of_site in runs.values() for run in of_site]


def _second(deck: list[str], first: Fault, design: SiteDesign, random: Random) -> Fault:
    """The next fault in the deck that happens to something else, and that the site can have."""
    for place, kind in enumerate(deck):
        second = KINDS[kind](design, random)
        if second.subject != first.subject and (design.measures_load or kind not in NEEDS_LOAD):
            del deck[place]
            return second
    return KINDS[deck.pop(0)](design, random)
