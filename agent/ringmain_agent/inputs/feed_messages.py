"""Feed messages: they become readings and steps; the local switch sets the mode; unusable messages are counted."""

import logging
import math
from collections.abc import Iterator, Mapping
from typing import Final

from ringmain_agent.config.agent import Config
from ringmain_agent.config.feed import Feed
from ringmain_agent.gateway.bounded_client import PACKET_MAX_BYTES
from ringmain_agent.gateway.clock import Cycle
from ringmain_agent.gateway.inbox import Arrived
from ringmain_agent.inputs.feeds import read_feed
from ringmain_agent.inputs.journal import Journal
from ringmain_agent.inputs.local_limits import LocalLimits
from ringmain_agent.inputs.local_switch import LocalSwitch
from ringmain_agent.inputs.step_history import Receipt, StepHistory
from ringmain_agent.inputs.trusted_time import AGREEMENT_S, TrustedTime, duration
from ringmain_agent.snapshot import Reason
from ringmain_protocol.errors import MessageError
from ringmain_protocol.messages import Mode, Quality, ReasonCode
from ringmain_protocol.steps import Reading, StepValue

logger = logging.getLogger("ringmain_agent")

SENDER_CLOCK_AGE_MAX_S: Final = 600.0
"""A sender's clock counts for this time after its last message."""


class RejectedMessages:
    """Counts of unusable messages and readings by reason; the first of each reason is logged."""

    def __init__(self) -> None:
        """All counts are 0."""
        self.counts: dict[str, int] = {}

    def add(self, reason: str, text: str) -> None:
        """Count one message, and log the first of its reason."""
        if reason not in self.counts:
            logger.warning("message rejected reason=%s %s (further ones are counted only)", reason, text)
        self.add_silently(reason, 1)

    def add_long(self, message: Arrived) -> None:
        """Count a message that was too long to be held."""
        text = f"message on {message.topic} has {message.refused_bytes} bytes; the limit is {PACKET_MAX_BYTES} bytes"
        self.add("too_large", text)

    def add_silently(self, reason: str, count: int) -> None:
        """Count messages of a normal reason, such as a repetition, without a log line."""
        if count:
            self.counts[reason] = self.counts.get(reason, 0) + count


class FeedMessages:
    """Fills the history and the journal from feed messages, and follows the local switch."""

    def __init__(
        self,
        config: Config,
        history: StepHistory,
        journal: Journal,
        rejected: RejectedMessages,
        local_limits: LocalLimits,
    ) -> None:
        """Restore the state from the journal."""
        self._config, self._history, self._journal, self._rejected = config, history, journal, rejected
        self._local_limits = local_limits
        self._feeds = _by_topic(config.feeds)
        self._switch = None if config.switch is None else LocalSwitch(config.switch)
        self.mode = Mode.OBSERVE
        """Control if both the configuration and the local switch say so, else observe; it changes in `take` only."""
        self.reasons: tuple[Reason, ...] = ()
        """Problems of the switch."""
        self._senders: dict[str, tuple[float, float]] = {}
        """By topic: the sender's clock minus the monotonic clock in ms, and the monotonic receipt of its newest time."""
        journal.restore(history)

    @property
    def topics(self) -> list[str]:
        """Topics of all feeds."""
        return list(self._feeds)

    def agreeing(self, cycle: Cycle) -> int:
        """Senders with a time of their own that agrees with the wall clock."""
        offset_ms = cycle.now_ms - 1000 * cycle.now_s
        return sum(
            abs(sender_ms - offset_ms) <= 1000 * AGREEMENT_S and cycle.now_s - heard_s <= SENDER_CLOCK_AGE_MAX_S
            for sender_ms, heard_s in self._senders.values()
        )

    def sender_reasons(self, now_s: float, time: TrustedTime) -> Iterator[Reason]:
        """Senders whose own time is far from a trusted clock, or whose values come late."""
        if not time.trusted or time.offset_ms is None:
            return
        for signal, clock in self._history.sender_clocks.items():
            if now_s - self._senders.get(self._config.feeds[signal].topic, (0.0, -math.inf))[1] > SENDER_CLOCK_AGE_MAX_S:
                continue
            ahead_s = (-clock.offset_ms - time.offset_ms) / 1000
            if abs(ahead_s) > AGREEMENT_S:
                text = f"{signal}: its sender's clock is {duration(ahead_s)} {'ahead' if ahead_s > 0 else 'behind'}; set it"
                yield Reason(ReasonCode.SENDER_CLOCK, text, signal)
            elif clock.late_since_s is not None:
                late_s = (clock.late_ms - clock.offset_ms) / 1000
                text = f"{signal}: its values come {duration(late_s)} late, or its sender's clock was set back"
                yield Reason(ReasonCode.SENDER_CLOCK, text, signal)

    def _read(self, signal: str, feed: Feed, message: Arrived, received_ms: int) -> Reading | None:
        """The reading of a message; `None` if it is unusable, or retained for a local limit, where it only narrows."""
        try:
            reading = read_feed(signal, feed, message.payload, received_ms=received_ms)
        except MessageError as error:
            self._rejected.add(error.reason, f"{error}")
            return None
        except Exception as error:  # noqa: BLE001  the messages behind it, one of the switch too, must not be lost
            self._rejected.add("internal_error", f"feed {signal}: {type(error).__name__}: {error}")
            return None
        self._local_limits.hear(signal, reading.value, retained=message.retained)
        return None if message.retained and signal in self._local_limits.signals else reading

    def take(self, cycle: Cycle, time: TrustedTime) -> list[StepValue]:
        """Process the feed messages of a cycle and the position of the switch; returns the closed steps."""
        self._turn_switch(cycle)  # first: a fault in the feeds must not keep the agent in control
        readings: list[Reading] = []
        receipts: list[Receipt] = []
        in_doubt = not time.stamps_steps
        if time.moved_ms:
            self._history.move_clock(time.moved_ms, now_ms=cycle.now_ms, in_doubt=in_doubt)
        for message in cycle.arrived:
            if message.refused_bytes:
                self._rejected.add_long(message)
            for signal, feed in () if message.refused_bytes else self._feeds.get(message.topic, ()):
                if message.retained and feed.time_path is None and signal not in self._local_limits.signals:
                    self._rejected.add(
                        "retained", f"feed {signal}: a retained value of unknown time may be old; set time_path"
                    )
                    continue
                received_ms, received_s = cycle.received_ms(message), cycle.received_s(message)
                reading = self._read(signal, feed, message, received_ms)
                if reading is None:
                    continue
                if in_doubt and reading.quality == Quality.GOOD:
                    reading = reading._replace(quality=Quality.SUSPECT)
                readings.append(reading)
                receipts.append(Receipt(received_ms, received_s, message.retained))
                if feed.time_path is not None and not message.retained:
                    self._senders[message.topic] = reading.at_ms - 1000 * received_s, received_s
        accepted, repeated = self._history.accept(
            readings, now_ms=cycle.now_ms, receipts=receipts, clock_trusted=time.trusted, in_doubt=in_doubt
        )
        self._rejected.add_silently("repeated", repeated)
        self._journal.accept(accepted, self._history, now_ms=cycle.now_ms, in_doubt=in_doubt)
        closed = self._history.close_steps(now_ms=cycle.now_ms, in_doubt=in_doubt)
        self._journal.close(closed, self._history)
        return closed

    def _turn_switch(self, cycle: Cycle) -> None:
        if self._config.mode is not Mode.CONTROL:
            return
        switch, now_s = self._switch, cycle.now_s
        for message in cycle.arrived:
            if switch is not None and self._config.switch is not None and message.topic == self._config.switch.topic:
                switch.take(message.payload, retained=message.retained, at_s=cycle.received_s(message))
        mode = Mode.CONTROL if switch is None or switch.is_on(now_s) else Mode.OBSERVE
        reason = None if switch is None else switch.reason(now_s)
        self.reasons = () if reason is None else (reason,)
        if mode is not self.mode:
            self.mode = mode
            source = "the configuration" if switch is None else "the local switch"
            logger.warning("mode %s by %s%s", mode, source, "" if reason is None else f": {reason.text}")


def _by_topic(feeds: Mapping[str, Feed]) -> dict[str, list[tuple[str, Feed]]]:
    by_topic: dict[str, list[tuple[str, Feed]]] = {}
    for signal, feed in feeds.items():
        by_topic.setdefault(feed.topic, []).append((signal, feed))
    return by_topic
