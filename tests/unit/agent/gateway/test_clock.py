"""The lockstep clock of a simulation: wall clock and monotonic clock are those of the tick."""

from ringmain_agent.gateway.clock import Cycle, SimulationClock
from ringmain_agent.gateway.inbox import Arrived
from ringmain_protocol import topics
from ringmain_protocol.messages import Tick, encode


class Connection:
    """A local connection on which one tick arrives."""

    host = "127.0.0.1"

    def __init__(self, tick: Tick) -> None:
        self._tick = tick

    def wait(self, _timeout_s: float) -> list[Arrived]:
        """The tick."""
        return [Arrived(topics.SIMULATION_CLOCK, encode(self._tick), retained=False, received_s=0.0)]


def first_cycle(tick: Tick) -> Cycle:
    clock = SimulationClock(Connection(tick), "site-1", feed_topics=frozenset(), last_tick=0)  # type: ignore[arg-type]
    cycle = next(clock.cycles())
    assert cycle is not None
    return cycle


def test_both_clocks_are_the_simulated_time() -> None:
    cycle = first_cycle(Tick(tick=1, now_ms=5_000, messages={}))
    assert (cycle.now_ms, cycle.now_s, cycle.synchronized) == (5_000, 5.0, True)


def test_a_wall_clock_that_is_wrong_on_purpose_leaves_the_monotonic_clock_alone() -> None:
    cycle = first_cycle(Tick(tick=1, now_ms=-7_000, monotonic_ms=5_000, synchronized=False, messages={}))
    assert (cycle.now_ms, cycle.now_s, cycle.synchronized) == (-7_000, 5.0, False)
