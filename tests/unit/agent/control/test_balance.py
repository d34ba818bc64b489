"""The balance pcc = load + equipment, in closed loops around regulate and limits: a wrong meter opens no limit."""

import math
from collections.abc import Callable
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from ringmain_agent.control.balance import Balance, balance_reasons, frozen, move_balance, update_balance
from ringmain_agent.control.limits import limit_setpoints
from ringmain_agent.control.pcc_limits import PccRange, by_the_meter
from ringmain_agent.control.regulate import RegulatorState, regulate, remember
from ringmain_agent.equipment.interval import Interval
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import Measured, Measurements
from ringmain_protocol.messages import Fallback, ReasonCode
from support.sites import NOW_MS, battery, measured, station

LIMIT_KW: Final = 1000.0
PERIOD_CYCLES: Final = 900
Shown = Callable[[str, float, int], float | None]
"""What a meter shows of a true value in a cycle; `None` shows nothing new."""


class Loop(Struct, kw_only=True):
    """Cycles of one second, with equipment that follows its setpoints at once (times `signs`), unless it has `own_kw`."""

    site: Site
    load_kw: Callable[[int], float]
    shown: Shown = lambda _signal, value, _cycle: value
    signs: dict[str, float] = {}
    own_kw: dict[str, float] = {}
    load_feed: bool = True
    soc_kwh: dict[str, float | None] = {}
    pcc_kw: list[float] = []
    powers_kw: list[dict[str, float]] = []
    texts: dict[str, int] = {}
    """First cycle of each reason's kind and text up to its first number."""
    state: RegulatorState = RegulatorState()

    def run(self, cycles: int) -> "Loop":
        """Run cycles from the beginning; returns itself."""
        powers_kw = {b.name: self.own_kw.get(b.name, 0.0) for b in self.site.batteries}
        newest: dict[str, Measured] = {}
        self.pcc_kw, self.powers_kw, self.texts = [], [], {}
        for cycle in range(cycles):
            now_ms, load_kw = NOW_MS + 1000 * cycle, self.load_kw(cycle)
            true = {"pcc_kw": load_kw + math.fsum(powers_kw.values()), "load_kw": load_kw}
            true |= {f"{name}_kw": kw for name, kw in powers_kw.items()}
            true |= {f"{name}_soc_kwh": kwh for name, kwh in self._soc_kwh().items()}
            if not self.load_feed:
                del true["load_kw"]
            for signal, value in true.items():
                seen = self.shown(signal, value, cycle)
                if seen is not None:
                    newest[signal] = Measured(seen, now_ms)
            image = measured(self.site, now_ms, newest=dict(newest))
            result, self.state = regulate(image, None, self.state, self.site)
            limited = limit_setpoints(
                result.setpoints, site=self.site, measurements=image, previous=self.state.sent
            ).power_kw
            self.state = remember(self.state, limited, now_ms)
            for name, kw in limited.items():
                if name not in self.own_kw:
                    powers_kw[name] = self.signs.get(name, 1.0) * (kw or 0.0)
            self.pcc_kw.append(load_kw + math.fsum(powers_kw.values()))
            self.powers_kw.append(dict(powers_kw))
            for reason in result.reasons:
                self.texts.setdefault(f"{reason.code}: {reason.text}", cycle)
        return self

    def _soc_kwh(self) -> dict[str, float]:
        known = {b.name: b.capacity_kwh / 2 for b in self.site.batteries} | self.soc_kwh
        return {name: kwh for name, kwh in known.items() if kwh is not None}

    @property
    def means_kw(self) -> list[float]:
        """Mean of each whole settlement period; NOW_MS begins one."""
        return [
            math.fsum(self.pcc_kw[begin : begin + PERIOD_CYCLES]) / PERIOD_CYCLES
            for begin in range(0, len(self.pcc_kw) - PERIOD_CYCLES + 1, PERIOD_CYCLES)
        ]

    def said(self, text: str) -> int | None:
        """First cycle of a reason with this text in it."""
        return min((cycle for said, cycle in self.texts.items() if text in said), default=None)


def one_battery(**changes: float) -> Site:
    return station(batteries=(battery("battery", 4000.0, 900.0),), valid_for_s=60.0, **changes)


def only(signal: str, seen: Callable[[float, int], float | None]) -> Shown:
    """A wrong meter; all others are right."""
    return lambda name, value, cycle: seen(value, cycle) if name == signal else value


@pytest.mark.parametrize("share", [0.7, 0.0, -1.0, 0.001])
def test_import_limit_holds_by_the_pcc_whatever_share_of_the_load_its_meter_shows(share: float) -> None:
    loop = Loop(site=one_battery(), load_kw=lambda _: 1500.0, shown=only("load_kw", lambda value, _: share * value))
    loop.run(2 * PERIOD_CYCLES)
    assert max(loop.means_kw) <= LIMIT_KW + 1e-6
    assert max(loop.pcc_kw[10:]) <= 1.05 * LIMIT_KW
    assert loop.said("balance_residual: pcc_kw is") is not None


def test_residual_says_which_share_the_load_meter_shows() -> None:
    loop = Loop(site=one_battery(), load_kw=lambda _: 1500.0, shown=only("load_kw", lambda value, _: 0.7 * value)).run(60)
    assert loop.said("load_kw shows 70 % of what pcc_kw and the equipment leave") is not None


def test_export_limit_holds_by_the_pcc_with_a_wrong_load_meter() -> None:
    loop = Loop(
        site=one_battery(export_limit_kw=100.0),
        load_kw=lambda _: -600.0,
        shown=only("load_kw", lambda value, _: 0.3 * value),
    ).run(PERIOD_CYCLES)
    assert min(loop.pcc_kw[20:]) >= -101.0


def test_frozen_load_meter_opens_no_limit_and_is_named() -> None:
    loop = Loop(
        site=one_battery(),
        load_kw=lambda cycle: 900.0 if cycle < 60 else 1500.0,
        shown=only("load_kw", lambda value, cycle: value if cycle < 60 else 900.0),
    ).run(2 * PERIOD_CYCLES)
    assert max(loop.pcc_kw[70:]) <= 1.01 * LIMIT_KW
    assert max(loop.means_kw) <= LIMIT_KW + 1e-6
    assert loop.said("load_kw frozen at 900 since 00:00:00 UTC") is not None


@pytest.mark.parametrize("load_feed", [True, False])
@pytest.mark.parametrize("feed_sign", [-1.0, 1.0])
def test_battery_with_the_wrong_sign_is_stopped_and_named(*, load_feed: bool, feed_sign: float) -> None:
    """The battery does the opposite of its setpoints; its feed hides that or not."""
    loop = Loop(
        site=one_battery(),
        load_kw=lambda cycle: 900.0 if cycle < 30 else 1100.0,
        load_feed=load_feed,
        signs={"battery": -1.0},
        shown=only("battery_kw", lambda value, _: feed_sign * value),
    ).run(3 * PERIOD_CYCLES)
    assert loop.said("opposed: battery stopped") is not None
    assert {powers["battery"] for powers in loop.powers_kw[120:]} == {0.0}
    assert math.fsum(kw > 1150.0 for kw in loop.pcc_kw) <= 45
    assert max(loop.means_kw[1:]) <= 1100.0 + 1e-6


@pytest.mark.parametrize("load_feed", [True, False])
def test_battery_with_only_its_feed_wrong_is_stopped_and_named(*, load_feed: bool) -> None:
    loop = Loop(
        site=one_battery(),
        load_kw=lambda cycle: 900.0 if cycle < 30 else 1300.0,
        load_feed=load_feed,
        shown=only("battery_kw", lambda value, _: -value),
    ).run(PERIOD_CYCLES)
    assert loop.said("opposed: battery stopped") is not None


@pytest.mark.parametrize("load_feed", [True, False])
@pytest.mark.parametrize("jump_kw", [300.0, 1800.0, 3000.0])
def test_battery_in_order_goes_on_after_any_jump_of_the_load(*, load_feed: bool, jump_kw: float) -> None:
    """More load than the battery can hold looks for a moment as if the battery made it worse."""
    loop = Loop(
        site=one_battery(),
        load_kw=lambda cycle: 900.0 + jump_kw * min(max(cycle - 29, 0) / 3, 1.0),
        load_feed=load_feed,
    ).run(300)
    assert loop.powers_kw[-1]["battery"] == pytest.approx(-min(jump_kw - 100.0, 900.0), abs=1.0)
    assert math.fsum(powers["battery"] > -1.0 for powers in loop.powers_kw[40:]) <= 10


def test_frozen_pcc_meter_opens_no_limit_while_the_load_is_measured() -> None:
    loop = Loop(
        site=one_battery(),
        load_kw=lambda cycle: 900.0 if cycle < 60 else 1500.0,
        shown=only("pcc_kw", lambda value, cycle: value if cycle < 60 else 900.0),
    ).run(2 * PERIOD_CYCLES)
    assert max(loop.means_kw) <= LIMIT_KW + 1e-6
    assert loop.said("pcc_kw frozen at 900 since") is not None
    assert frozen(loop.state.balance, "pcc_kw")


def test_frozen_pcc_meter_alone_is_a_lost_meter_once_the_equipment_moves() -> None:
    """Nothing but the battery's own movement tells that the meter of a site without a load meter is frozen."""
    loop = Loop(
        site=one_battery(),
        load_kw=lambda cycle: 1500.0 if cycle < 5 else 400.0,
        load_feed=False,
        shown=only("pcc_kw", lambda value, cycle: value if cycle < 2 else 1400.0),
    ).run(200)
    assert loop.said("pcc_kw frozen at 1400 since") is not None
    assert loop.said("meter_lost: pcc_kw is missing or stale") is not None
    assert frozen(loop.state.balance, "pcc_kw")


def test_frozen_meter_is_back_when_its_value_changes() -> None:
    loop = Loop(
        site=one_battery(),
        load_kw=lambda cycle: 900.0 if cycle < 60 else 1500.0,
        shown=only("pcc_kw", lambda value, cycle: 900.0 if 60 <= cycle < 200 else value),
    )
    assert frozen(loop.run(150).state.balance, "pcc_kw")
    loop.state = RegulatorState()
    assert not frozen(loop.run(300).state.balance, "pcc_kw")


def test_power_of_a_battery_without_energy_stays_in_the_balance() -> None:
    """One battery charges by itself, and its energy is not known; the other makes up for it."""
    site = station(batteries=(battery("a", 1000.0, 500.0), battery("b", 2400.0, 600.0)), valid_for_s=60.0)
    for load_feed in (True, False):
        loop = Loop(site=site, load_kw=lambda _: 900.0, own_kw={"a": 500.0}, soc_kwh={"a": None}, load_feed=load_feed)
        assert max(loop.run(PERIOD_CYCLES).pcc_kw[5:]) <= LIMIT_KW + 1e-6


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"pcc_kw": 900.0, "load_kw": 900_000.0}, "load_kw is 1000 times too large: W declared as kW?"),
        ({"pcc_kw": 900.0, "load_kw": 0.9}, "load_kw is 1000 times too small: kW declared as W?"),
        ({"pcc_kw": 0.9, "load_kw": 900.0}, "pcc_kw is 1000 times too small: kW declared as W?"),
        ({"pcc_kw": 650.0, "load_kw": 800.0, "battery_kw": 150.0}, "battery_kw has the wrong sign: positive_direction?"),
        ({"pcc_kw": 800.0, "load_kw": -800.0}, "load_kw has the wrong sign: positive_direction?"),
        ({"pcc_kw": 700.0, "load_kw": -20.0}, "unmeasured load is assumed"),
        ({"pcc_kw": -700.0, "load_kw": -20.0}, "unmeasured generation is assumed"),
    ],
)
def test_residual_is_explained_where_a_pattern_fits(values: dict[str, float], text: str) -> None:
    site, balance = one_battery(), Balance()
    for cycle in range(30):
        image = measured(site, NOW_MS + 1000 * cycle, battery_soc_kwh=2000.0, **{"battery_kw": 0.0} | values)
        balance = update_balance(balance, image, moves={}, free_kw={}, site=site)
    assert balance.beyond_bound
    [reason] = balance_reasons(balance, image, site)
    assert reason.code is ReasonCode.BALANCE_RESIDUAL
    assert text in reason.text


def test_clock_that_is_set_changes_neither_residual_nor_a_stopped_battery() -> None:
    loop = Loop(
        site=one_battery(),
        load_kw=lambda cycle: 900.0 if cycle < 30 else 1100.0,
        signs={"battery": -1.0},
        shown=only("battery_kw", lambda value, _: -value),
    ).run(120)
    moved = move_balance(loop.state.balance, 86_400_000)
    assert moved.stopped == {"battery"}
    assert moved.residual_kw == loop.state.balance.residual_kw
    assert moved.beyond_bound == loop.state.balance.beyond_bound
    assert move_balance(moved, -86_400_000).repeats == loop.state.balance.repeats


def test_errors_of_the_meters_are_not_named() -> None:
    loop = Loop(site=one_battery(), load_kw=lambda _: 900.0, shown=only("load_kw", lambda value, _: 1.02 * value)).run(60)
    assert loop.said("balance_residual") is None


def test_load_that_keeps_one_value_is_not_frozen() -> None:
    loop = Loop(site=one_battery(), load_kw=lambda _: 1100.0).run(120)
    assert not frozen(loop.state.balance, "load_kw")
    assert not frozen(loop.state.balance, "pcc_kw")


def image_of(site: Site, values: dict[str, float]) -> Measurements:
    return measured(site, NOW_MS, **values)


POWER = st.floats(-1e6, 1e6)


@given(limits=st.tuples(POWER, POWER), unmeasured_kw=POWER, ceiling_kw=POWER)
def test_correction_never_widens_a_limit(limits: tuple[float, float], unmeasured_kw: float, ceiling_kw: float) -> None:
    """What is allowed lies within the limits by the pcc, and by the load meter wherever both can hold at once."""
    least_kw, most_kw = sorted(limits)
    narrowed = by_the_meter(PccRange(Interval(least_kw, most_kw), ceiling_kw, "t"), unmeasured_kw)
    interval = narrowed.interval
    assert interval.least <= interval.most
    assert (narrowed.ceiling_kw, narrowed.transformer) == (ceiling_kw, "t")
    if unmeasured_kw >= 0:
        assert interval.most + unmeasured_kw <= most_kw + 1e-6
    if unmeasured_kw <= 0:
        assert interval.least + unmeasured_kw >= least_kw - 1e-6
    if abs(unmeasured_kw) <= most_kw - least_kw:
        assert least_kw - 1e-6 <= interval.least
        assert interval.most <= most_kw + 1e-6


@pytest.mark.parametrize(
    ("factor", "text"), [(-1.0, "pcc_kw has the wrong sign"), (1000.0, "pcc_kw is 1000 times too large")]
)
@pytest.mark.parametrize("load_kw", [800.0, 1400.0])
def test_wrong_pcc_meter_is_a_lost_meter(factor: float, text: str, load_kw: float) -> None:
    """Followed, a turned pcc drives the battery past the limit. The load that goes on is held at its fail-safe."""
    loop = Loop(
        site=one_battery(),
        load_kw=lambda _: load_kw,
        shown=only("pcc_kw", lambda value, cycle: value if cycle < 60 else factor * value),
    ).run(300)
    assert max(loop.pcc_kw[80:]) <= LIMIT_KW + 1e-6
    said = loop.said(text)
    assert said is not None
    assert said <= 70
    assert loop.said("battery stopped") is None


@given(load_kw=st.floats(-1500, 1500), share=st.floats(-2, 2), battery_kw=st.floats(-900, 900))
def test_wrong_load_meter_asks_for_no_power_beyond_a_limit_by_the_pcc(
    load_kw: float, share: float, battery_kw: float
) -> None:
    """At rest, the setpoint and the rest of the pcc stay within both limits, as far as the battery can hold them."""
    site, state = station(batteries=(battery("battery", 4000.0, 900.0, ramp_kw_per_min=1e6),)), RegulatorState()
    values = {"pcc_kw": load_kw + battery_kw, "load_kw": share * load_kw, "battery_kw": battery_kw}
    for cycle in range(30):
        image = measured(site, NOW_MS + 1000 * cycle, battery_soc_kwh=2000.0, **values)
        result, state = regulate(image, None, state, site)
    if result.fallback is Fallback.FAILSAFE:  # at rest, a turned pcc looks as a turned load does: neither is believed
        assert "pcc_kw has the wrong sign" in result.reason or "pcc_kw is 1000 times" in result.reason
        return
    asked_kw = result.setpoints["battery"]
    assert asked_kw is not None
    pcc_kw = load_kw + asked_kw
    slack_kw = 1e-3 * (abs(load_kw) + 1)
    assert pcc_kw <= max(LIMIT_KW, load_kw - 900.0) + slack_kw
    assert pcc_kw >= min(-LIMIT_KW, load_kw + 900.0) - slack_kw
