"""Limits by feed: positions of contacts and values, and silence."""

from collections.abc import Mapping

import pytest

from ringmain_agent.config.local_limit import LocalLimit, PccLimits
from ringmain_agent.inputs.local_limits import LocalLimits

RIPPLE = LocalLimit(
    feed="ripple_position",
    positions={"0": PccLimits(export_kw=0.0), "30": PccLimits(export_kw=750.0), "100.0": PccLimits()},
    silent=PccLimits(export_kw=300.0),
)
BOX = LocalLimit(import_kw="box_import_kw", silent=PccLimits(import_kw=40.0))


def present(limits: LocalLimits, fresh: Mapping[str, float]) -> tuple[float | None, float | None, bool]:
    """Import and export limit now and later, and whether one of its signals is silent."""
    (source,) = limits.sources(fresh.get, 2)
    assert source.import_kw[0] == source.import_kw[1]
    return source.import_kw[0], source.export_kw[0], source.reason is not None


@pytest.mark.parametrize(("position", "export_kw"), [(0.0, 0.0), (30.0, 750.0), (100.0, None)])
def test_position_heard_live_sets_its_limits(position: float, export_kw: float | None) -> None:
    limits = LocalLimits({"ripple": RIPPLE})
    limits.hear("ripple_position", position, retained=False)
    assert present(limits, {"ripple_position": position}) == (None, export_kw, False)


def test_silence_and_unknown_positions_have_the_limits_of_silence() -> None:
    limits = LocalLimits({"ripple": RIPPLE})
    assert present(limits, {}) == (None, 300.0, True)
    limits.hear("ripple_position", 100.0, retained=False)
    assert present(limits, {}) == (None, 300.0, True)
    assert present(limits, {"ripple_position": 31.0}) == (None, 300.0, True)


@pytest.mark.parametrize(("position", "export_kw"), [(0.0, 0.0), (30.0, 300.0), (100.0, 300.0)])
def test_value_that_is_retained_or_from_before_the_start_narrows_only(position: float, export_kw: float) -> None:
    limits = LocalLimits({"ripple": RIPPLE})
    assert present(limits, {"ripple_position": position}) == (None, export_kw, True)
    limits.hear("ripple_position", position, retained=True)
    assert present(limits, {}) == (None, export_kw, True)
    limits.hear("ripple_position", 30.0, retained=False)
    limits.hear("ripple_position", 0.0, retained=True)
    assert present(limits, {"ripple_position": 30.0}) == (None, 750.0, False)


def test_limit_by_value_holds_and_a_negative_one_is_refused() -> None:
    limits = LocalLimits({"box": BOX})
    limits.hear("box_import_kw", 70.0, retained=False)
    assert present(limits, {"box_import_kw": 70.0}) == (70.0, None, False)
    assert present(limits, {"box_import_kw": -1.0}) == (40.0, None, True)
    assert present(limits, {}) == (40.0, None, True)


def test_value_not_heard_live_narrows_only() -> None:
    limits = LocalLimits({"box": BOX})
    limits.hear("box_import_kw", 10.0, retained=True)
    limits.hear("other_kw", 1.0, retained=True)
    assert present(limits, {"box_import_kw": 70.0}) == (10.0, None, True)
