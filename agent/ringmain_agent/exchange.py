"""The exchange with upstream: receipts, outbox, series and envelopes, models, status."""

import logging
import random
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from ringmain_agent.config.agent import LoadedConfig
from ringmain_agent.gateway.connections import upstream_connection
from ringmain_agent.gateway.inbox import Arrived
from ringmain_agent.gateway.instance import Instance
from ringmain_agent.gateway.mqtt import BrokerConnection
from ringmain_agent.gateway.outbox import Outbox
from ringmain_agent.gateway.presence import Presence
from ringmain_agent.gateway.state_file import StateFile
from ringmain_agent.inputs.feed_messages import RejectedMessages
from ringmain_agent.inputs.instant import Instant
from ringmain_agent.inputs.operator_limits import OperatorLimits
from ringmain_agent.inputs.series_and_envelopes import SeriesAndEnvelopes
from ringmain_agent.models.store import ModelStore
from ringmain_agent.outputs.status import ControlState, ProgramState, current_status
from ringmain_agent.snapshot import ForecastResult, Reason
from ringmain_protocol import topics
from ringmain_protocol.errors import MessageError
from ringmain_protocol.messages import EnvelopeAnswer, ReasonCode, Receipt, decode, encode

logger = logging.getLogger("ringmain_agent")

STATUS_INTERVAL_MIN_S = 0.5
"""Shortest time between two statuses."""
NEVER_S = -1e9
LIMITS_FILE = "limits.json"


class UpstreamExchange:
    """Receives from upstream and sends to it; control never waits for it.

    * A message leaves the outbox only when a receipt covers it.
    * The status is sent at intervals, and at each change of mode, fallback level, model or unresponsive equipment.
    """

    def __init__(  # noqa: PLR0913  keyword-only, one exchange
        self,
        loaded: LoadedConfig,
        state: StateFile,
        outbox: Outbox,
        *,
        local: BrokerConnection,
        rejected: RejectedMessages,
        instance: Instance,
    ) -> None:
        """Restore series, envelopes and models.

        Raises:
            ConfigError: If files that the configuration names cannot be used.
        """
        folder = loaded.path(loaded.config.state_folder)
        self.series_and_envelopes = SeriesAndEnvelopes()
        self._operator = OperatorLimits(self.series_and_envelopes.envelopes, folder / LIMITS_FILE, state, rejected)
        self._loaded, self._config = loaded, loaded.config
        self._state, self._outbox, self._local, self._rejected = state, outbox, local, rejected
        self._models = ModelStore(loaded, folder)
        self._upstream = upstream_connection(loaded, instance, stream=outbox.stream)
        self._presence = Presence(loaded, instance, stream=outbox.stream, local=local, upstream=self._upstream)
        self._connects = 0
        self._plan_inputs_changed = False
        self._status_s = NEVER_S
        self._status_of: tuple[object, ...] = ()
        self._generation = state.generation
        self._restore()

    def start(self) -> None:
        """Begin to connect."""
        self._upstream.start()

    def close(self) -> None:
        """Publish that the agent is offline, and disconnect."""
        self._models.close()
        self._presence.goodbye()
        self._upstream.stop()

    @property
    def stream(self) -> str:
        """Identity of the outbox, within which sequences count."""
        return self._outbox.stream

    @property
    def model_files(self) -> dict[str, str]:
        """File of the active model of each signal."""
        return self._models.paths

    @property
    def planner_trials(self) -> Path:
        """Folder in which the planner notes the model files that it is loading or running."""
        return self._models.planner_trials

    def planner_died(self, failure: str) -> None:
        """The planner has died or was late: a model file that it was running is held responsible, and a plan is due."""
        self._plan_inputs_changed |= self._models.planner_died(failure)

    def models_ran(self, forecasts: Iterable[ForecastResult]) -> None:
        """A plan with these forecasts has arrived."""
        self._models.models_ran((forecast.signal, forecast.release) for forecast in forecasts)

    def plan_inputs_changed(self) -> bool:
        """True if an envelope or a model has arrived, or a model has ended the planner, since the last call."""
        changed, self._plan_inputs_changed = self._plan_inputs_changed, False
        return changed

    def receive(self, at: Instant | None) -> None:
        """Process receipts, series, envelopes and announcements of models; messages wait for the first instant."""
        now_s, now_ms = time.monotonic(), 0 if at is None else at.now_ms
        if self._upstream.connects != self._connects:
            self._connects = self._upstream.connects
            self._outbox.reconnected(now_s=now_s, jitter=random.random())  # noqa: S311  jitter is no secret
            self._status_s, self._status_of = NEVER_S, ()
        if self._state.generation != self._generation:
            self._generation = self._state.generation
            for name, series in self.series_and_envelopes.series.items():
                self._state.set_retained(topics.topic(self._config.site, topics.SERIES, name), encode(series))
        self._presence.announce(now_ms, now_s)
        if at is None:
            return
        for message in self._upstream.received():
            if message.refused_bytes:
                self._rejected.add_long(message)
                continue
            try:
                self._take(message, at, now_s)
            except MessageError as error:
                self._rejected.add(error.reason, f"{error}")
            except Exception as error:  # noqa: BLE001  the messages behind it must not be lost
                self._rejected.add("internal_error", f"{message.topic}: {type(error).__name__}: {error}")
        self._plan_inputs_changed |= self._operator.advance(at)

    def hear_local(self, arrived: Iterable[Arrived]) -> None:
        """Process what another agent of this site says at the local broker."""
        self._presence.take_local(arrived, at_s=time.monotonic())

    @property
    def control_hindered(self) -> bool:
        """True if another agent of this site started earlier, or may be about to say so."""
        return self._presence.hinders(time.monotonic())

    def send(self) -> None:
        """Publish from the outbox, then answers to the operator."""
        now_s = time.monotonic()
        rows = self._outbox.due(now_s=now_s, room=self._upstream.room)
        for number, (_, kind, payload) in enumerate(rows):
            if not self._upstream.publish(topics.topic(self._config.site, kind), payload):
                self._outbox.not_handed_over([sequence for sequence, _, _ in rows[number:]])
                break
        self._operator.send_answers(self._publish_answer, now_s)

    def update_models(self) -> None:
        """Check for newer models when it is time."""
        self._plan_inputs_changed |= self._models.poll(now_s=time.monotonic())

    def _take(self, message: Arrived, at: Instant, now_s: float) -> None:
        parsed = topics.parse(message.topic)
        kind = parsed.kind
        if kind == topics.RECEIPT and message.payload:
            self._outbox.receive(decode(message.payload, Receipt), now_s=now_s)
        elif kind == topics.ONLINE:
            self._presence.take(message.payload, retained=message.retained, at_s=now_s)
        elif kind == topics.MODEL:
            delay_s = 0.0 if self._config.models is None else self._config.models.check_delay_max_s
            self._models.announced(message.payload, now_s=now_s, delay_s=random.random() * delay_s)  # noqa: S311
        elif kind == topics.ENVELOPE:
            self._operator.take(parsed.name or "", message.payload, at, retained=message.retained)
        else:
            retained = self.series_and_envelopes.take(message.topic, message.payload, now_ms=at.now_ms)
            if retained is not None:
                self._state.set_retained(message.topic, retained)

    def report(self, control: ControlState) -> None:
        """Publish the status when it is due."""
        now_s = time.monotonic()
        limits = tuple((limit.name, limit.source) for limit in control.limits)
        shown = (
            control.mode,
            control.fallback,
            tuple(self._models.releases.items()),
            tuple(self._models.put_aside),
            tuple(control.not_followed),
            limits,
        )
        interval_s = self._config.status_interval_s if shown == self._status_of else STATUS_INTERVAL_MIN_S
        if now_s - self._status_s < interval_s:
            return
        status = encode(current_status(self._loaded, control, self._program_state()))
        if self._upstream.publish(topics.topic(self._config.site, topics.STATUS), status, retain=True):
            self._status_s, self._status_of = now_s, shown

    def _program_state(self) -> ProgramState:
        queue_full = self._local.dropped + self._upstream.dropped
        return ProgramState(
            stream=self._outbox.stream,
            state_begun_anew=self._state.begun_anew,
            state_failures=self._state.failures,
            releases=self._models.releases,
            models_put_aside=self._models.put_aside,
            reasons=list(self._reasons()),
            outbox_messages=self._state.outbox_messages,
            outbox_capacity_messages=self._config.outbox.messages_max,
            dropped=self._state.dropped | ({"queue_full": queue_full} if queue_full else {}),
            rejected=self._rejected.counts,
            connections={connection.name: connection.trouble for connection in (self._local, self._upstream)},
        )

    def _reasons(self) -> Iterator[Reason]:
        if self._models.trouble:
            yield Reason(ReasonCode.MODEL_NOT_FETCHED, self._models.trouble)
        for signal, text in self._models.reasons.items():
            yield Reason(ReasonCode.MODEL_DAMAGED, text, signal)
        for signal, text in self._models.put_aside.items():
            yield Reason(ReasonCode.MODEL_PUT_ASIDE, f"model of {signal} is put aside for good: {text}", signal)
        yield from self._operator.reasons
        second_agent = self._presence.reason(time.monotonic())
        if second_agent is not None:
            yield second_agent
        if self._state.trouble:
            yield Reason(ReasonCode.STATE_NOT_WRITTEN, self._state.trouble)
        if self._state.begun_anew:
            yield Reason(ReasonCode.STATE_BEGUN_ANEW, f"state begun anew at {self._state.begun_anew}")

    def _publish_answer(self, name: str, answer: EnvelopeAnswer) -> bool:
        return self._upstream.publish(topics.topic(self._config.site, topics.ANSWER, name or None), encode(answer))

    def _restore(self) -> None:
        for topic, payload in self._state.retained():
            try:
                self.series_and_envelopes.take(topic, payload, now_ms=0)
            except MessageError as error:
                logger.warning("retained message topic=%s is not used: %s; the next one replaces it", topic, error)
