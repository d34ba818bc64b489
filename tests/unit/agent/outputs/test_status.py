"""The status: each problem is named once, with its code."""

from collections.abc import Callable
from pathlib import Path

from msgspec.structs import replace

from ringmain_agent.config.agent import load_config
from ringmain_agent.outputs.forecast_accuracy import ForecastAccuracies
from ringmain_agent.outputs.status import ControlState, ProgramState, current_status
from ringmain_agent.snapshot import Measured, Measurements, Reason
from ringmain_protocol.messages import Fallback, Mode, ReasonCode, Status

SAMPLE = load_config(Path(__file__).parents[4] / "deploy" / "config" / "agent.toml")
BATTERY = SAMPLE.site.batteries[0]
NO_FORECAST = Reason(ReasonCode.NO_FORECAST, "no forecast: there is no history")
PERSISTENCE = Reason(ReasonCode.PERSISTENCE, "pv_kw by persistence: no model yet", "pv_kw")
DISK = Reason(ReasonCode.STATE_NOT_WRITTEN, "database or disk is full")
PROGRAM = ProgramState(
    models_put_aside={"pv_kw": "release 3: 2 times ended the planner"},
    stream="0123456789abcdef",
    releases={"load_kw": 3},
    reasons=(),
    outbox_messages=7,
    outbox_capacity_messages=10,
    dropped={"disk_full": 1},
    rejected={"invalid": 2},
    connections={"local": "", "upstream": "not connected yet"},
)


def status(measurements: Measurements, *reasons: Reason, program: tuple[Reason, ...] = ()) -> Status:
    control = ControlState(
        measurements=measurements,
        mode=Mode.CONTROL,
        fallback=Fallback.RULE,
        reasons=reasons,
        not_followed=["battery"],
        billing_peak_kw=812.5,
        accuracy=ForecastAccuracies(("load_kw",), step_s=900),
    )
    return current_status(SAMPLE, control, replace(PROGRAM, reasons=program))


def test_problem_that_several_parts_name_is_named_once(measured: Callable[..., Measurements], now_ms: int) -> None:
    """The regulator works by the rule for the reason that the plan has; both say it."""
    made = status(measured(now_ms), NO_FORECAST, PERSISTENCE, NO_FORECAST, program=(DISK,))
    assert made.reason == "no forecast: there is no history; pv_kw by persistence: no model yet; database or disk is full"
    assert made.reason_codes == [ReasonCode.NO_FORECAST, ReasonCode.PERSISTENCE, ReasonCode.STATE_NOT_WRITTEN]


def test_one_kind_of_problem_at_two_equipments_is_two_problems(measured: Callable[..., Measurements], now_ms: int) -> None:
    released = [Reason(ReasonCode.ENERGY_UNKNOWN, f"{name} released", name) for name in ("one", "two")]
    rests = Reason(ReasonCode.ENERGY_UNKNOWN, "two rests", "two")
    made = status(measured(now_ms), *released, rests)
    assert made.reason == "one released; two released"
    assert made.reason_codes == [ReasonCode.ENERGY_UNKNOWN]


def test_energy_is_shown_for_a_day_after_it_was_measured(measured: Callable[..., Measurements], now_ms: int) -> None:
    newest = {BATTERY.soc_signal: Measured(BATTERY.capacity_kwh / 4, now_ms)}
    for age_s, shown in ((0, {BATTERY.name: 0.25}), (86_400, {BATTERY.name: 0.25}), (86_401, {})):
        assert status(replace(measured(now_ms + 1000 * age_s), newest=newest)).soc_pu == shown


def test_counts_of_the_program_pass_through(measured: Callable[..., Measurements], now_ms: int) -> None:
    made = status(measured(now_ms))
    assert (made.at_ms, made.stream, made.releases) == (now_ms, PROGRAM.stream, {"load_kw": 3})
    assert (made.outbox_messages, made.outbox_capacity_messages) == (7, 10)
    assert (made.dropped, made.rejected) == ({"disk_full": 1}, {"invalid": 2})
    assert made.connections == {"local": "", "upstream": "not connected yet"}
    assert (made.mode_source, made.billing_peak_kw, made.not_followed) == ("configuration", 812.5, ["battery"])
