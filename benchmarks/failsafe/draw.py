"""Which faults a seed draws: every kind before any comes again, singly and in pairs, dealt to the sites. Pure."""

from collections.abc import Iterator, Sequence
from random import Random
from typing import Final

from benchmarks.failsafe.faults import KINDS, NEEDS_LOAD, Fault
from benchmarks.failsafe.site import SiteDesign

PAIR_SHARE: Final = 0.35
RUN_DRAWS: Final = 10
"""So many draws share one agent; the next ones find a new site."""

Draw = tuple[Fault, ...]
Run = tuple[SiteDesign, list[Draw]]


def draws(count: int, seed: int, designs: Sequence[SiteDesign], *, kinds: Sequence[str] = tuple(KINDS)) -> list[Run]:
    """So many single faults and pairs, in runs of one site each; pairs enough that no kind is left out where that goes."""
    random = Random(seed)  # noqa: S311  chance, not secrets
    deck = _deck(kinds, random)
    pairs = max(round(PAIR_SHARE * count), min(len(kinds) - count, count)) if len(kinds) > 1 else 0
    sizes = [2] * pairs + [1] * (count - pairs)
    random.shuffle(sizes)
    runs: dict[str, list[Run]] = {design.site: [] for design in designs}
    for number, size in enumerate(sizes):
        names = [next(deck) for _ in range(size)]
        fitting = [design for design in designs if design.measures_load or not NEEDS_LOAD & set(names)]
        design = fitting[number % len(fitting)]
        draw = tuple(KINDS[name](design, random) for name in names)
        of_site = runs[design.site]
        if not of_site or len(of_site[-1][1]) >= RUN_DRAWS:
            of_site.append((design, []))
        of_site[-1][1].append(draw)
    return [run for of_site in runs.values() for run in of_site]


def _deck(kinds: Sequence[str], random: Random) -> Iterator[str]:
    """Every kind once before any comes again."""
    while True:
        yield from random.sample(kinds, len(kinds))
