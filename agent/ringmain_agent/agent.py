"""The agent at work: inputs, plan and regulator, limits, outputs; then commit, publish, report. One thread owns it all."""

import logging
import random
import re
import sqlite3
import time
from collections.abc import Sequence

from ringmain_agent.config.agent import LoadedConfig
from ringmain_agent.control.limits import limit_setpoints
from ringmain_agent.control.regulate import Regulation, RegulatorState, decode_state, encode_state, regulate, remember
from ringmain_agent.gateway.clock import Clock, Cycle, MachineClock, SimulationClock
from ringmain_agent.gateway.connections import local_connection, upstream_connection
from ringmain_agent.gateway.outbox import Outbox
from ringmain_agent.gateway.state_file import StateFile
from ringmain_agent.gateway.watchdog import notify
from ringmain_agent.inputs.equipment_state import EquipmentState, decode_equipment_state, encode_equipment_state
from ringmain_agent.inputs.feed_messages import FeedMessages
from ringmain_agent.inputs.process_image import ProcessImage
from ringmain_agent.inputs.series_and_envelopes import SeriesAndEnvelopes
from ringmain_agent.inputs.step_history import StepHistory
from ringmain_agent.models.store import ModelStore
from ringmain_agent.outputs.decision_reports import Report, SetpointReports, plan_reports
from ringmain_agent.outputs.forecast_accuracy import ForecastAccuracy
from ringmain_agent.outputs.setpoint_sender import CycleSetpoints, SetpointSender
from ringmain_agent.outputs.status import current_status
from ringmain_agent.planning.client import Planner
from ringmain_agent.snapshot import Measurements, Plan, Snapshot
from ringmain_program.config import ConfigError
from ringmain_protocol import topics
from ringmain_protocol.errors import MessageError
from ringmain_protocol.messages import (
    Fallback,
    Mode,
    Online,
    Receipt,
    Status,
    decode,
    encode,
)
from ringmain_protocol.steps import StepValue

logger = logging.getLogger("ringmain_agent")


class Agent:
    """Everything of one running agent, wired together; `run` returns after `stop`.

    * Nothing leaves for equipment that `limits` has not passed, and in observe nothing leaves at all.
    * A cycle that fails to plan, to write or to reach upstream still sends its setpoints.
    """

    def __init__(self, loaded: LoadedConfig, *, simulated: bool) -> None:
        """Take up what the state folder holds.

        Raises:
            ConfigError: If files that the configuration names cannot be used.
        """
        config, site = loaded.config, loaded.site
        self._loaded, self._config, self._site = loaded, config, site
        folder = loaded.path(config.state_folder)
        try:
            self._state = StateFile(folder / "agent.sqlite3", outbox_messages_max=config.outbox.messages_max)
        except (sqlite3.DatabaseError, OSError) as error:
            text = f"{folder / 'agent.sqlite3'}: {error}; if no other agent runs here, move the file away"
            raise ConfigError(f"{text} and the agent begins anew") from error
        self._outbox = Outbox(self._state, config.outbox)
        self._upstream_inputs = SeriesAndEnvelopes()
        self._history = StepHistory(
            {signal: feed.hold_s for signal, feed in config.feeds.items()},
            step_s=config.step_s,
            steps_kept=site.history_steps,
        )
        self._inputs = FeedMessages(config, self._history, self._state, self._outbox, history_steps=site.history_steps)
        self._planned_around: tuple[str, ...] = ()
        self._regulator, equipment_state = self._restore()
        self._image = ProcessImage(site, self._history, self._upstream_inputs, equipment_state=equipment_state)
        last_sequence = int(self._state.fact("setpoint_sequence") or 0)
        self._equipment = SetpointSender(config.outputs, site, last_sequence=last_sequence)
        self._setpoints = SetpointReports(valid_for_s=site.regulator.valid_for_s)
        self._accuracy = {s: ForecastAccuracy(s, step_s=config.step_s) for s in site.forecast_signals}
        self._models = ModelStore(loaded, folder)
        self._planner = Planner(site, deadline_s=config.planner_timeout_s)
        self._inputs_changed = False
        self._plan: Plan | None = None
        self._regulation = Regulation(setpoints={}, fallback=Fallback.RELEASE, reason="starting")
        self._status: tuple[float, tuple[object, ...]] = (-1e9, ())
        self._committed_ms = 0
        self._connects = 0
        self._local = local_connection(loaded, self._inputs.topics, simulated=simulated)
        self._upstream = upstream_connection(loaded)
        self._clock: Clock = MachineClock(self._local, cycle_s=config.cycle_s)
        if simulated:
            last_tick = int(self._state.fact("tick") or 0)
            feed_topics = frozenset(self._inputs.topics)
            self._clock = SimulationClock(self._local, config.site, feed_topics=feed_topics, last_tick=last_tick)

    def run(self) -> None:
        """Work until `stop`."""
        self._planner.start()
        self._local.start()
        self._upstream.start()
        logger.info("agent start site=%s mode=%s stream=%s", self._config.site, self._config.mode, self._outbox.stream)
        notify("READY=1")
        for cycle in self._clock.cycles():
            if cycle is None:
                self._exchange()
                continue
            setpoints = self._cycle(cycle)
            self._clock.done(cycle, setpoints=setpoints)
            notify("WATCHDOG=1")
        self._finish()

    def stop(self) -> None:
        """End after the present cycle; may be called from a signal handler."""
        self._clock.stop()

    # One cycle

    def _cycle(self, cycle: Cycle) -> int:
        now_ms = cycle.now_ms
        self._inputs.take(cycle)
        self._take_upstream(now_ms)
        closed = self._inputs.close_steps(now_ms)
        for step in closed:
            if step.signal in self._accuracy:
                self._accuracy[step.signal].closed(step, self._history)
        measurements = self._image.take(now_ms, self._equipment.not_followed)
        wanted = self._plan_wanted(closed)
        if wanted:
            self._planner.request(self._snapshot())
        waits = wanted and cycle.tick is not None
        self._take_plan(self._planner.wait(self._config.planner_timeout_s) if waits else self._planner.poll(), now_ms)
        sent = self._regulate(measurements)
        self._commit(cycle)
        self._exchange()
        return sent

    def _regulate(self, measurements: Measurements) -> int:
        """Setpoints through `limits` and out; says how many messages went."""
        now_ms = measurements.now_ms
        regulation, self._regulator = regulate(measurements, self._plan, self._regulator, self._site)
        self._say_changes(regulation)
        self._regulation = regulation
        limited = limit_setpoints(
            regulation.setpoints,
            positions=regulation.positions,
            site=self._site,
            measurements=measurements,
            previous=self._regulator.sent,
        )
        sent = 0
        if self._inputs.mode is Mode.CONTROL:
            orders = CycleSetpoints(limited.power_kw, limited.positions, regulation.fallback, regulation.reason)
            newest, publish = self._history.newest, self._local.publish_setpoint
            sent = self._equipment.send(orders, newest, now_ms=now_ms, publish=publish)
            self._regulator = remember(self._regulator, limited.power_kw, now_ms)
        else:
            self._equipment.forget()
        report = self._setpoints.report(regulation, limited, self._inputs.mode, now_ms)
        if report is not None:
            self._report(report)
        return sent

    def _say_changes(self, regulation: Regulation) -> None:
        """Once, when another rung of the ladder is reached or another thing is wrong; numbers alone are no change."""
        before = self._regulation
        known = {_words(part) for part in before.reason.split("; ")}
        new = [part for part in regulation.reason.split("; ") if part and _words(part) not in known]
        if regulation.fallback is before.fallback and not new:
            return
        good = regulation.fallback in {Fallback.OPTIMAL, Fallback.INCUMBENT} and not new
        level = logging.INFO if good else logging.WARNING
        logger.log(level, "agent ladder site=%s rung=%s %s", self._config.site, regulation.fallback, "; ".join(new))

    def _exchange(self) -> None:
        """Everything with upstream that needs no decision: receipts, outbox, models, status."""
        self._take_upstream(self._image.measurements.now_ms)
        self._publish()
        self._inputs_changed |= self._models.poll(now_s=time.monotonic())
        self._report_status()

    def _take_upstream(self, now_ms: int) -> None:
        now_s = time.monotonic()
        if self._upstream.connects != self._connects:
            self._connects = self._upstream.connects
            self._outbox.reconnected(now_s=now_s, jitter=random.random())  # noqa: S311  jitter is no secret
            self._upstream.publish(
                topics.topic(self._config.site, topics.ONLINE), encode(Online(online=True, since_ms=now_ms)), retain=True
            )
            self._status = (-1e9, ())
        for message in self._upstream.received():
            try:
                kind = topics.parse(message.topic).kind
                if kind == topics.RECEIPT and message.payload:
                    self._outbox.receive(decode(message.payload, Receipt), now_s=now_s)
                elif kind == topics.MODEL:
                    delay_s = 0.0 if self._config.models is None else self._config.models.check_delay_max_s
                    self._models.hasten(now_s=now_s, delay_s=random.random() * delay_s)  # noqa: S311
                elif (known := self._upstream_inputs.take(message.topic, message.payload, now_ms=now_ms)) is not None:
                    self._state.set_retained(message.topic, known)
                    self._inputs_changed |= kind == topics.ENVELOPE
            except MessageError as error:
                self._inputs.reject(error.reason, f"{error}")

    # Plan

    def _plan_wanted(self, closed: Sequence[StepValue]) -> bool:
        """A new step, another model or envelope, or equipment that has begun or ceased to follow."""
        followed, self._planned_around = self._planned_around, tuple(self._equipment.not_followed)
        changed = self._inputs_changed or followed != self._planned_around
        self._inputs_changed = False
        return bool(closed) or self._plan is None or changed

    def _snapshot(self) -> Snapshot:
        return self._image.snapshot(
            signals=self._config.feeds,
            billing_peak_kw=self._regulator.quarter.peaks_kw,
            models=self._models.paths,
        )

    def _take_plan(self, plan: Plan | None, now_ms: int) -> None:
        if plan is None:
            return
        self._plan = plan
        for report in plan_reports(plan):
            self._report(report)
        for forecast in plan.forecasts:
            if forecast.signal in self._accuracy and 0.5 in forecast.quantiles:
                column = forecast.quantiles.index(0.5)
                median = [row[column] for row in forecast.values]
                self._accuracy[forecast.signal].issued(plan.issued_at_ms, median, release=forecast.release)
        logger.info(
            "agent plan site=%s now_ms=%d dispatch=%s plan_ms=%.1f releases=%s mode=%s rung=%s",
            self._config.site,
            now_ms,
            plan.fallback,
            plan.plan_ms,
            ",".join(f"{f.signal}:{f.release}" for f in plan.forecasts),
            self._inputs.mode,
            self._regulation.fallback,
        )

    def _report(self, report: Report) -> None:
        kind, message, fields = report
        self._outbox.add(kind, message, **fields)

    # Afterwards

    def _commit(self, cycle: Cycle) -> None:
        due = abs(cycle.now_ms - self._committed_ms) >= 1000 * self._config.commit_interval_s
        if cycle.tick is not None:
            self._state.set_fact("tick", cycle.tick)
        if due or cycle.tick is not None:
            self._committed_ms = cycle.now_ms
            self._write()

    def _write(self) -> None:
        """Readings are accepted here: they and the state that knows of them go into one transaction."""
        self._inputs.write()
        self._state.set_fact("setpoint_sequence", self._equipment.last_sequence)
        self._state.set_fact("regulator", encode_state(self._regulator))
        self._state.set_fact("tracked", encode_equipment_state(self._image.equipment_state))
        self._state.commit()

    def _publish(self) -> None:
        for sequence, kind, payload in self._outbox.due(now_s=time.monotonic(), room=self._upstream.room):
            if not self._upstream.publish(topics.topic(self._config.site, kind), payload):
                logger.debug("message %d waits: upstream has no room", sequence)

    def _report_status(self) -> None:
        now_s = time.monotonic()
        state = (
            self._inputs.mode,
            self._regulation.fallback,
            tuple(self._models.releases.items()),
            tuple(self._equipment.not_followed),
        )
        before_s, before = self._status
        if now_s - before_s < (self._config.status_interval_s if state == before else 0.5):
            return
        if self._upstream.publish(
            topics.topic(self._config.site, topics.STATUS), encode(self._current_status()), retain=True
        ):
            self._status = (now_s, state)

    def _current_status(self) -> Status:
        reasons = [self._regulation.reason, self._plan.reason if self._plan else "", self._planner.failure]
        reasons += [self._models.trouble, *self._models.reasons.values(), self._state.trouble]
        dropped = dict(self._state.dropped)
        if self._local.dropped + self._upstream.dropped:
            dropped["queue_full"] = self._local.dropped + self._upstream.dropped
        return current_status(
            loaded=self._loaded,
            mode=self._inputs.mode,
            regulation=self._regulation,
            measurements=self._image.measurements,
            accuracy=self._accuracy,
            reasons=reasons,
            stream=self._outbox.stream,
            releases=self._models.releases,
            billing_peak_kw=self._regulator.billing_peak_kw,
            outbox_messages=self._state.outbox_messages,
            outbox_capacity_messages=self._config.outbox.messages_max,
            dropped=dropped,
            rejected=dict(self._inputs.rejected),
            connections={"local": self._local.trouble, "upstream": self._upstream.trouble},
            not_followed=self._equipment.not_followed,
        )

    # Restart

    def _restore(self) -> tuple[RegulatorState, EquipmentState]:
        self._inputs.restore()
        regulator, equipment_state = RegulatorState(), EquipmentState()
        try:
            if (kept := self._state.fact("regulator")) is not None:
                regulator = decode_state(kept)
            if (kept := self._state.fact("tracked")) is not None:
                equipment_state = decode_equipment_state(kept)
        except ValueError as error:
            logger.warning("kept state is damaged or of another version, and not used: %s", error)
        for topic, payload in self._state.retained():
            try:
                self._upstream_inputs.take(topic, payload, now_ms=0)
            except MessageError as error:
                logger.warning("remembered message is not used: %s", error)
        return regulator, equipment_state

    def _finish(self) -> None:
        self._write()
        self._models.close()
        self._planner.close()
        online = encode(Online(online=False, since_ms=0))
        self._upstream.publish(topics.topic(self._config.site, topics.ONLINE), online, retain=True)
        self._upstream.stop()
        self._local.stop()
        self._state.close()
        logger.info("agent stop site=%s", self._config.site)


def _words(reason: str) -> str:
    return re.sub(r"-?[\d.]+", "", reason)
