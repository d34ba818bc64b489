"""Apparent power in the program: never seen too small, and hardly too large."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ringmain_agent.planning.dispatch.apparent_power import ApparentPower
from ringmain_agent.planning.dispatch.linear_program import INF, LinearProgram, Term


@given(
    active_kw=st.floats(-1000.0, 1000.0),
    load_kvar=st.floats(-1000.0, 1000.0),
    bank_kvar=st.sampled_from([None, -300.0, 0.0, 300.0]),
)
def test_apparent_power_is_never_seen_too_small(active_kw: float, load_kvar: float, bank_kvar: float | None) -> None:
    """And by at most 3.6 % too large, less at usual power factors; the sign of reactive power does not matter."""
    program = LinearProgram()
    seen, drawn, given_back, banks = (program.columns(1, lower=-INF) for _ in range(4))
    reactive = [] if bank_kvar is None else [Term(banks, 1.0)]
    pcc = [Term(drawn, 1.0), Term(given_back, -1.0)]
    apparent = ApparentPower(program, seen, pcc=pcc, reactive=reactive, factor=1.0)
    program.build()
    program.cost[seen] = 1.0
    for columns, value in ((drawn, max(active_kw, 0.0)), (given_back, max(-active_kw, 0.0)), (banks, bank_kvar or 0.0)):
        program.lower[columns] = program.upper[columns] = value
    apparent.write(np.array([load_kvar]))
    seen_kva = float(program.solve(time_limit_s=3.0).values[seen][0])
    true_kva = math.hypot(active_kw, load_kvar + (bank_kvar or 0.0))
    power_factor = abs(active_kw) / max(true_kva, 1e-9)
    share = 1.0025 if power_factor > 0.92 else 1.005 if power_factor > 0.87 else 1.036
    assert true_kva - 1e-6 <= seen_kva <= share * true_kva + 1e-6
