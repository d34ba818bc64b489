"""The figures that the benchmark prints."""

from collections import Counter
from typing import Any

from benchmarks.failsafe.referee import Tally
from benchmarks.failsafe.run import Outcome
from benchmarks.failsafe.witness import summary


def outcome(longest_s: int = 0, **changes: Any) -> Outcome:
    usual: dict[str, Any] = {
        "site": "import",
        "kinds": ("meter_lost",),
        "subjects": ("pcc_kw",),
        "tally": Tally(longest_s=longest_s),
    }
    return Outcome(**usual | changes)


def test_reactions_are_quantiles_over_the_draws() -> None:
    figures = summary([outcome(1)] * 99 + [outcome(9)])
    assert (figures["faults"], figures["reaction_s_p99"], figures["reaction_s_max"]) == (100, 1, 9)


def test_everything_is_counted() -> None:
    tally = Tally(longest_s=20, excursions=1, unavoidable=Counter(a=2), undetectable=Counter(b=3))
    figures = summary(
        [
            outcome(tally=tally, kinds=("meter_lost", "soc_lost"), unsaid=("soc_lost",)),
            outcome(unsafe=("pv released", "pv released"), control_lost="agent ended"),
        ]
    )
    assert figures["kinds"] == 2
    assert figures["excursions_over_15_s"] == figures["unsaid"] == figures["control_lost"] == 1
    assert figures["unsafe_setpoints"] == 2
    assert figures["unavoidable"] == {"a": 2}
    assert figures["undetectable"] == {"b": 3}
