"""Plans of faults: decided by the seed, and every kind before any comes again."""

from chaos.faults import Kind, plan


def test_a_seed_decides_the_whole_plan() -> None:
    assert plan(40, 7) == plan(40, 7)
    assert plan(40, 7) != plan(40, 8)
    assert plan(40, 7)[:10] == plan(10, 7)


def test_every_kind_comes_before_any_comes_again() -> None:
    assert {fault.kind for fault in plan(len(Kind), 3)} == set(Kind)
