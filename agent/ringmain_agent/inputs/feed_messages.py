"""What arrives at the site: feed messages become readings and steps, the local switch is obeyed, the rest is counted."""

import logging
from collections.abc import Mapping
from typing import Final

from ringmain_agent.config.agent import Config
from ringmain_agent.config.feed import Feed
from ringmain_agent.gateway.clock import Cycle
from ringmain_agent.gateway.outbox import Outbox
from ringmain_agent.gateway.state_file import StateFile
from ringmain_agent.inputs.feeds import is_plausible, read_feed
from ringmain_agent.inputs.step_history import StepHistory, columns, step_columns
from ringmain_protocol import topics
from ringmain_protocol.errors import MessageError
from ringmain_protocol.messages import Mode, Readings, Steps
from ringmain_protocol.steps import Reading, StepValue

logger = logging.getLogger("ringmain_agent")

_BATCH: Final = 4000


class FeedMessages:
    """Fills the history from feed messages; readings wait for `write`, which accepts them."""

    def __init__(
        self, config: Config, history: StepHistory, state: StateFile, outbox: Outbox, *, history_steps: int
    ) -> None:
        """Nothing has arrived."""
        self.rejected: dict[str, int] = {}
        self._config, self._history, self._state, self._outbox = config, history, state, outbox
        self._history_steps = history_steps
        self._feeds = _by_topic(config.feeds)
        self._switched_on = config.switch is None
        self._taken: list[Reading] = []

    @property
    def topics(self) -> list[str]:
        """Topics of all feeds."""
        return list(self._feeds)

    @property
    def mode(self) -> Mode:
        """Control only if the configuration and the local switch agree."""
        return Mode.CONTROL if self._config.mode is Mode.CONTROL and self._switched_on else Mode.OBSERVE

    def take(self, cycle: Cycle) -> None:
        """The feed messages of a cycle as readings in the history, and the position of the switch."""
        now_ms, readings = cycle.now_ms, []
        for message in cycle.arrived:
            if self._config.switch is not None and message.topic == self._config.switch.topic:
                self._turn_switch(message.payload)
                continue
            for signal, feed in self._feeds.get(message.topic, ()):
                if message.retained and feed.time_path is None:
                    self.reject("retained", f"feed {signal}: a retained value without its time may be old")
                    continue
                try:
                    received_ms = cycle.received_ms(message)
                    readings.append(read_feed(signal, feed, message.payload, received_ms=received_ms))
                except MessageError as error:
                    self.reject(error.reason, f"{error}")
        taken, repeated = self._history.accept(readings, now_ms=now_ms)
        if repeated:
            self.rejected["repeated"] = self.rejected.get("repeated", 0) + repeated
        self._taken += taken
        self._state.add_readings(reading for reading in taken if is_plausible(reading.at_ms, now_ms))

    def _turn_switch(self, payload: bytes) -> None:
        switch = self._config.switch
        on = switch is not None and payload.strip() == switch.control_payload.encode()
        if on != self._switched_on:
            self._switched_on = on
            self._state.set_fact("switch", int(on))
            logger.warning("mode %s by the local switch", self.mode)

    def reject(self, reason: str, text: str) -> None:
        """Count what cannot be used; the first of its reason is logged."""
        if reason not in self.rejected:
            logger.warning("message rejected reason=%s %s (further ones are counted only)", reason, text)
        self.rejected[reason] = self.rejected.get(reason, 0) + 1

    def close_steps(self, now_ms: int) -> list[StepValue]:
        """The steps that are over, remembered and on their way upstream."""
        closed = self._history.close_steps(now_ms=now_ms)
        if not closed:
            return closed
        step_ms = 1000 * self._config.step_s
        open_start_ms = self._history.open_start_ms or 0
        for first in range(0, len(closed), _BATCH):
            batch = step_columns(closed[first : first + _BATCH])
            self._outbox.add(topics.STEPS, Steps, step_s=self._config.step_s, **batch)
        self._state.add_steps(closed, forget_before_ms=open_start_ms - step_ms * self._history_steps)
        oldest = {signal: found[0].at_ms for signal, found in self._history.open_readings.items() if found}
        gone = {signal: open_start_ms for signal in self._config.feeds if signal not in oldest}
        self._state.keep_open_readings(oldest | gone)
        self._state.set_fact("open_start_ms", open_start_ms)
        return closed

    def write(self) -> None:
        """Put the readings into the outbox, for the commit that accepts them."""
        for first in range(0, len(self._taken), _BATCH):
            self._outbox.add(topics.READINGS, Readings, **columns(self._taken[first : first + _BATCH]))
        self._taken = []

    def restore(self) -> None:
        """Take up what the state file holds."""
        self._history.restore(
            open_start_ms=self._state.fact("open_start_ms"),
            newest=self._state.newest(),
            readings=self._state.open_readings(),
        )
        self._history.restore_steps(self._state.steps())
        if self._state.fact("switch") is not None and self._config.switch is not None:
            self._switched_on = bool(self._state.fact("switch"))


def _by_topic(feeds: Mapping[str, Feed]) -> dict[str, list[tuple[str, Feed]]]:
    by_topic: dict[str, list[tuple[str, Feed]]] = {}
    for signal, feed in feeds.items():
        by_topic.setdefault(feed.topic, []).append((signal, feed))
    return by_topic
