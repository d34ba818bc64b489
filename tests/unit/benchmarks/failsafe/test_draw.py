"""The draws: decided by the seed, every kind among them, singly and in pairs, each at a site that can have it."""

import pytest
from benchmarks.failsafe.draw import draws
from benchmarks.failsafe.faults import KINDS, NEEDS_LOAD
from benchmarks.failsafe.site import designs


def drawn(count: int, seed: int) -> list[tuple[str, tuple[tuple[str, str], ...]]]:
    return [
        (design.site, tuple((fault.kind, fault.subject) for fault in draw))
        for design, of_run in draws(count, seed, designs())
        for draw in of_run
    ]


@pytest.mark.parametrize("seed", range(5))
def test_forty_draws_hold_every_kind_singly_and_in_pairs(seed: int) -> None:
    made = drawn(40, seed)
    assert len(made) == 40
    assert {kind for _, draw in made for kind, _ in draw} == set(KINDS)
    assert {len(draw) for _, draw in made} == {1, 2}
    assert not [draw for _, draw in made[:30] if len({subject for _, subject in draw}) < len(draw)]
    assert {site for site, _ in made} == {design.site for design in designs()}


def test_a_seed_decides() -> None:
    assert drawn(60, 3) == drawn(60, 3)
    assert drawn(60, 3) != drawn(60, 4)


def test_a_site_without_a_measured_load_has_no_fault_of_it() -> None:
    made = drawn(200, 1)
    assert not [draw for site, draw in made if "meter-only" in site and NEEDS_LOAD & {kind for kind, _ in draw}]


def test_chosen_kinds_are_the_only_ones() -> None:
    made = draws(7, 1, designs(), kinds=("meter_lost",))
    assert {fault.kind for _, of_run in made for draw in of_run for fault in draw} == {"meter_lost"}
