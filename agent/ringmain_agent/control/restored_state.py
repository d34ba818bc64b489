"""The regulator's state after the wall clock was set, or after a restart: its instants keep their ages. Pure.

Without a trusted clock the age of a kept setpoint is unknown. It then counts as sent just now: a ramp starts from it, and a
plant counts as curtailed by it, for a whole validity more.
"""

from msgspec.structs import replace

from ringmain_agent.control.balance import move_balance
from ringmain_agent.control.failsafe import move_failsafe
from ringmain_agent.control.regulate import RegulatorState
from ringmain_agent.control.settlement_period import move_period
from ringmain_agent.snapshot import SentSetpoint


def move_regulator_state(state: RegulatorState, moved_ms: int) -> RegulatorState:
    """The state after the wall clock was set by `moved_ms` against the monotonic clock."""
    return replace(
        state,
        balance=move_balance(state.balance, moved_ms),
        period=move_period(state.period, moved_ms),
        failsafe=None if state.failsafe is None else move_failsafe(state.failsafe, moved_ms),
        sent={name: _moved(sent, moved_ms) for name, sent in state.sent.items()},
        moves={name: tuple(_moved(sent, moved_ms) for sent in moves) for name, moves in state.moves.items()},
    )


def restored_regulator_state(state: RegulatorState, *, now_ms: int, clock_trusted: bool) -> RegulatorState:
    """The kept state in the first cycle after a restart."""
    period = state.period
    if not clock_trusted:
        period = replace(period, counted_to_ms=min(period.counted_to_ms, now_ms), last_reading=None)
    sent = {
        name: one if clock_trusted and one.at_ms <= now_ms else SentSetpoint(one.power_kw, now_ms)
        for name, one in state.sent.items()
    }
    moves = {
        name: made if not made or (clock_trusted and made[-1].at_ms <= now_ms) else _ending_at(made, now_ms)
        for name, made in state.moves.items()
    }
    failsafe = state.failsafe
    if failsafe is not None and not (clock_trusted and failsafe.since_ms <= now_ms):
        failsafe = replace(failsafe, since_ms=now_ms, returns_ms=None)
    return replace(state, period=period, sent=sent, moves=moves, failsafe=failsafe, metered=False)


def _ending_at(moves: tuple[SentSetpoint, ...], now_ms: int) -> tuple[SentSetpoint, ...]:
    return tuple(_moved(sent, now_ms - moves[-1].at_ms) for sent in moves)


def _moved(sent: SentSetpoint, moved_ms: int) -> SentSetpoint:
    return SentSetpoint(sent.power_kw, sent.at_ms + moved_ms)
