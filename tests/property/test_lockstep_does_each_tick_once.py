"""In lockstep each tick is done once, with exactly its own feed messages, in whatever order messages come.

A simulation that sends a tick again until it is answered, and a broker that keeps the order within a topic only and may
deliver again what it delivered before, stand on the other side of the connection.
"""

from collections import deque

from hypothesis import given, settings
from hypothesis import strategies as st

from ringmain_agent.gateway.clock import SimulationClock
from ringmain_agent.gateway.inbox import Arrived
from ringmain_protocol import topics
from ringmain_protocol.messages import Answer, Tick, decode, encode

SITE = "s"
FEEDS = ("plant/load", "plant/pv", "plant/pcc")
SWITCH = "plant/switch"
TICKS = 6


class World:
    """Simulation, broker and the agent's connection in one; draws decide what is delivered next.

    Attributes:
        done: Tick and feed payloads of each cycle.
        switched: Switch messages that cycles brought.
    """

    host = "127.0.0.1"

    def __init__(self, data: st.DataObject, sizes: list[list[int]]) -> None:
        self.data = data
        self.sizes = sizes  # of each tick: messages of each feed
        self.tick = 0
        self.queues: dict[str, deque[bytes]] = {name: deque() for name in (*FEEDS, SWITCH, topics.SIMULATION_CLOCK)}
        self.delivered: deque[tuple[int, str, bytes]] = deque(maxlen=30)
        self.done: list[tuple[int, list[tuple[str, bytes]]]] = []
        self.switches = 0
        self.switched: list[bytes] = []
        self.answers: list[Answer] = []
        self.ended = False
        self.waits = 0
        self.clock: SimulationClock

    def start_agent(self, last_tick: int) -> None:
        """A new process; what was on its way to the old one is lost."""
        for queue in self.queues.values():
            queue.clear()
        self.delivered.clear()
        self.clock = SimulationClock(self, SITE, feed_topics=frozenset(FEEDS), last_tick=last_tick)  # type: ignore[arg-type]

    def messages(self, tick: int) -> list[tuple[str, bytes]]:
        """The feed messages of a tick; their payload holds the time, as in the simulation."""
        sizes = self.sizes[tick - 1]
        return [(topic, b"%d-%d" % (tick, i)) for topic, size in zip(FEEDS, sizes, strict=True) for i in range(size)]

    def next_tick(self) -> None:
        """Time goes on, unless it has come to its end."""
        if self.tick == len(self.sizes):
            self.ended = True
            self.clock.stop()
            return
        self.tick += 1
        self.send()

    def send(self) -> None:
        """Feed messages first, then the tick; for the second time as for the first."""
        messages = self.messages(self.tick)
        for topic, payload in messages:
            self.queues[topic].append(payload)
        tick = Tick(tick=self.tick, now_ms=1000 * self.tick, messages={SITE: len(messages), "other": 99})
        self.queues[topics.SIMULATION_CLOCK].append(encode(tick))

    # What the clock uses of a connection

    def wait(self, _timeout_s: float) -> list[Arrived]:
        """Some of what is on its way; when nothing is, the simulation sends again."""
        self.waits += 1
        assert self.waits < 500, f"tick {self.tick} is not done, however often it is sent"
        draw = self.data.draw
        batch = []
        for _ in range(6 - draw(st.integers(0, 6))):
            waiting = [topic for topic, queue in self.queues.items() if queue]
            if not waiting or draw(st.integers(0, 9)) == 9:
                self.send()
                continue
            topic = draw(st.sampled_from(waiting))
            payload = self.queues[topic].popleft()
            self.delivered.append((self.tick, topic, payload))
            batch.append(Arrived(topic, payload, retained=False, received_s=0.0))
        known = [(topic, payload) for tick, topic, payload in self.delivered if topic != SWITCH and tick > self.tick - 10]
        if known and draw(st.integers(0, 4)) == 4:
            topic, payload = draw(st.sampled_from(known))
            batch.insert(draw(st.integers(0, len(batch))), Arrived(topic, payload, retained=False, received_s=0.0))
        if draw(st.integers(0, 9)) == 9:
            self.switches += 1
            batch.append(Arrived(SWITCH, b"%d" % self.switches, retained=False, received_s=0.0))
        return batch

    def publish(self, topic: str, payload: bytes) -> bool:
        """The answer reaches the simulation, or a repetition of the tick will bring another."""
        assert topic == topics.simulation_answer(SITE)
        answer = decode(payload, Answer)
        self.answers.append(answer)
        if answer.tick == self.tick and self.data.draw(st.integers(0, 3)) < 3:
            self.next_tick()
        return True


@settings(max_examples=200)
@given(
    data=st.data(),
    sizes=st.lists(st.tuples(*[st.integers(0, 3)] * len(FEEDS)).map(list), min_size=1, max_size=TICKS),
    crashes=st.sets(st.tuples(st.integers(1, TICKS), st.booleans()), max_size=3),
)
def test_each_tick_is_done_once_with_exactly_its_own_messages(
    data: st.DataObject, sizes: list[list[int]], crashes: set[tuple[int, bool]]
) -> None:
    world = World(data, sizes)
    world.start_agent(0)
    world.next_tick()
    running = True
    while running:
        running = False
        for cycle in world.clock.cycles():
            if cycle is None or cycle.tick is None:
                continue
            feeds = [(m.topic, m.payload) for m in cycle.arrived if m.topic != SWITCH]
            world.switched += [m.payload for m in cycle.arrived if m.topic == SWITCH]
            world.done.append((cycle.tick, feeds))
            assert cycle.now_ms == 1000 * cycle.tick
            crash = (cycle.tick, True) in crashes
            if not crash:
                world.clock.done(cycle, setpoints=2)
            if crash or (cycle.tick, False) in crashes:  # killed after the commit: before its answer, or after
                crashes -= {(cycle.tick, True), (cycle.tick, False)}
                world.start_agent(cycle.tick)
                running = not world.ended
                break
    assert [tick for tick, _ in world.done] == list(range(1, len(sizes) + 1))
    for tick, feeds in world.done:
        assert sorted(feeds) == sorted(world.messages(tick))
    assert len(world.switched) == len(set(world.switched))
