"""The witness test and the time of reaction, as `python -m benchmarks.failsafe` and `benchmarks.reaction` measure them."""

from pathlib import Path

from benchmarks import reaction
from benchmarks.failsafe.faults import KINDS
from benchmarks.failsafe.witness import measure


def test_no_fault_of_any_kind_ends_control_or_sends_an_unsafe_setpoint() -> None:
    figures = measure(40, seed=1)
    assert (figures["faults"], figures["kinds"]) == (40, len(KINDS))
    assert (figures["control_lost"], figures["unsafe_setpoints"]) == (0, 0), figures


def test_the_reaction_of_a_real_agent_is_measured(tmp_path: Path) -> None:
    measured = reaction.measure(tmp_path, samples=6, cycle_s=0.2)
    assert 0 < measured["p50_ms"] <= measured["p99_ms"]
    assert (measured["cycle_s"], measured["samples"]) == (0.2, 6)
