"""The witness test and the time of reaction, as `python -m benchmarks.failsafe` and `benchmarks.reaction` measure them."""

from pathlib import Path

from benchmarks import reaction
from benchmarks.failsafe.faults import KINDS
from benchmarks.failsafe.witness import measure


def test_forty_faults_of_every_kind_open_no_limit_and_are_all_said() -> None:
    figures = measure(40, seed=1)
    assert (figures["faults"], figures["kinds"]) == (40, len(KINDS))
    faults = ("excursions_over_15_s", "unsafe_setpoints", "control_lost", "unsaid")
    assert {name: figures[name] for name in faults} == dict.fromkeys(faults, 0), figures


def test_the_reaction_of_a_real_agent_is_measured(tmp_path: Path) -> None:
    measured = reaction.measure(tmp_path, samples=6, cycle_s=0.2)
    assert 0 < measured["p50_ms"] <= measured["p99_ms"]
    assert (measured["cycle_s"], measured["samples"]) == (0.2, 6)
