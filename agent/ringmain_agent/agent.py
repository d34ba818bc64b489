"""The cycle of the agent: inputs, plan, control and outputs, exchange, in this order and on one thread. Read this first."""

import logging
import math
import random
from typing import Final, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from ringmain_agent.config.agent import LoadedConfig
from ringmain_agent.config.leaving import on_leave
from ringmain_agent.control.balance import Balance, feed_reasons, forget_responses
from ringmain_agent.control.limits import limit_setpoints
from ringmain_agent.control.regulate import Regulation, RegulatorState, regulate, remember
from ringmain_agent.control.restored_state import move_regulator_state, restored_regulator_state
from ringmain_agent.exchange import UpstreamExchange
from ringmain_agent.gateway.clock import Clock, Cycle, MachineClock, SimulationClock
from ringmain_agent.gateway.connections import local_client_id, local_connection
from ringmain_agent.gateway.instance import new_instance
from ringmain_agent.gateway.kept import decode_kept, encode_kept
from ringmain_agent.gateway.outbox import Outbox
from ringmain_agent.gateway.state_file import StateFile, StateFileInUseError
from ringmain_agent.gateway.watchdog import Watchdog
from ringmain_agent.gateway.will_connections import WillConnections
from ringmain_agent.inputs.equipment_state import EquipmentState
from ringmain_agent.inputs.feed_messages import FeedMessages, RejectedMessages
from ringmain_agent.inputs.instant import Instant
from ringmain_agent.inputs.journal import Journal
from ringmain_agent.inputs.local_limits import LocalLimits
from ringmain_agent.inputs.process_image import ProcessImage
from ringmain_agent.inputs.step_history import StepHistory
from ringmain_agent.inputs.trusted_time import EARLIEST_MS, TrustedTime, next_time
from ringmain_agent.outputs.decision_reports import SetpointReports, plan_reports
from ringmain_agent.outputs.forecast_accuracy import ForecastAccuracies
from ringmain_agent.outputs.leave_messages import LeaveMessage, leave_messages
from ringmain_agent.outputs.setpoint_sender import CycleSetpoints, SetpointSender
from ringmain_agent.outputs.status import ControlState
from ringmain_agent.planning.client import Planner
from ringmain_agent.snapshot import Measurements, Plan, Reason, Snapshot, new_problems, reason_text
from ringmain_agent.stages import Stage, Stages
from ringmain_program.backoff import BackOff
from ringmain_program.config import ConfigError
from ringmain_protocol.messages import Fallback, Mode, ReasonCode
from ringmain_protocol.steps import StepValue

logger = logging.getLogger("ringmain_agent")

PLAN_RETRY_FIRST_S: Final = 1.0
PLAN_RETRY_LONGEST_S: Final = 60.0
"""Delays before the next plan after a failure of that stage: starting a process costs most where memory is short."""

STARTING: Final = Reason(ReasonCode.STARTING, "starting")
WILL_SEQUENCE: Final = 0
"""Sequence of a will, which is written before the setpoints that it ends; equipment takes it whatever came before."""
GOOD: Final = frozenset({Fallback.OPTIMAL, Fallback.INCUMBENT})

KeptState = TypeVar("KeptState", bound=Struct)


class Agent:
    """One running agent; `run` returns after `stop`.

    * Every setpoint passes `limits` before it is sent; in observe none is sent, but `on_leave` once on entering it.
    * A cycle is four guarded stages. A failure of one is said once and counted; the next one works with what there is.
    * The watchdog is fed after control and outputs succeeded.
    """

    def __init__(self, loaded: LoadedConfig, *, simulated: bool) -> None:
        """Restore the state from the state folder.

        Raises:
            ConfigError: If files that the configuration names cannot be used.
        """
        config, site = loaded.config, loaded.site
        self._stages = Stages()
        self._watchdog = Watchdog()
        self._config, self._site = config, site
        self._state = _open_state(loaded)
        outbox = Outbox(self._state, config.outbox)
        self._journal = Journal(self._state, outbox, step_s=config.step_s, history_steps=site.history_steps)
        holds_s = {signal: feed.hold_s for signal, feed in config.feeds.items()}
        timed = {signal for signal, feed in config.feeds.items() if feed.time_path is not None}
        self._history = StepHistory(holds_s, step_s=config.step_s, steps_kept=site.history_steps, timed=timed)
        stale_after_s = {
            signal: feed.stale_after_s for signal, feed in config.feeds.items() if feed.stale_after_s is not None
        }
        rejected = RejectedMessages()
        local_limits = LocalLimits(config.local_limit)
        self._feeds = FeedMessages(config, self._history, self._journal, rejected, local_limits)
        instance = new_instance(loaded.path(config.state_folder))
        self._local = local_connection(loaded, self._feeds.topics, instance=instance, simulated=simulated)
        self._exchange = UpstreamExchange(
            loaded, self._state, outbox, local=self._local, rejected=rejected, instance=instance
        )
        self._mode = Mode.OBSERVE
        self._image = ProcessImage(
            site,
            self._history,
            self._exchange.series_and_envelopes,
            equipment_state=self._kept("tracked", EquipmentState()),
            local_limits=local_limits,
            stale_after_s=stale_after_s,
        )
        self._planner = Planner(site, deadline_s=config.planner_timeout_s, trials=self._exchange.planner_trials)
        self._planner_restarts = 0
        self._accuracy = ForecastAccuracies(site.forecast_signals, step_s=config.step_s)
        self._planned_around: list[str] = []
        self._plan_due = True
        self._plan_from_s = -math.inf
        self._plan_backoff = BackOff(random.Random(), first_s=PLAN_RETRY_FIRST_S, longest_s=PLAN_RETRY_LONGEST_S)  # noqa: S311  jitter
        self._regulator = self._kept("regulator", RegulatorState())
        self._regulation = Regulation(setpoints={}, fallback=Fallback.RELEASE, reasons=(STARTING,))
        last_sequence = int(self._journal.kept("setpoint_sequence") or 0)
        self._sender = SetpointSender(config.outputs, site, last_sequence=last_sequence)
        self._reports = SetpointReports(site)
        self._orders = on_leave(config.outputs, site)
        self._wills = WillConnections(loaded, client_id=local_client_id(loaded, instance))
        self._in_control = False
        self._local_connects = 0
        self._committed_ms = 0
        self._at: Instant | None = None
        self._time = TrustedTime(last_trusted_ms=_instant(self._journal.kept("last_trusted_ms")))
        self._now_s = 0.0
        self._earliest_ms = 0 if simulated else EARLIEST_MS
        self._clock: Clock = MachineClock(self._local, cycle_s=config.cycle_s)
        if simulated:
            last_tick = int(self._journal.kept("tick") or 0)
            feed_topics = frozenset(self._feeds.topics)
            self._clock = SimulationClock(self._local, config.site, feed_topics=feed_topics, last_tick=last_tick)

    def run(self) -> None:
        """Run cycles until `stop`."""
        self._start()
        for cycle in self._clock.cycles():
            if cycle is None:
                self._receive(self._at)
                self._send()
                continue
            setpoints = self.cycle(cycle)
            with self._stages.guard(Stage.REPORTS, "clock"):
                self._clock.done(cycle, setpoints=setpoints)
        self.close()

    def stop(self) -> None:
        """End after the present cycle; may be called from a signal handler."""
        self._clock.stop()

    def cycle(self, cycle: Cycle) -> int:
        """One cycle; returns how many setpoint messages went to equipment."""
        sent = 0
        closed, image = self._take_inputs(cycle)
        self._plan_due = self._plan_due or bool(closed)
        if cycle.now_s >= self._plan_from_s:
            self._plan_from_s = cycle.now_s + self._plan_backoff.next_s()  # if it fails
            with self._stages.guard(Stage.PLAN):
                self._update_plan(waits=cycle.tick is not None)
                self._plan_from_s = -math.inf
                self._plan_backoff.reset()
        with self._stages.guard(Stage.CONTROL):
            sent = self._control(image)
            self._watchdog.feed()
        self._conclude(cycle)
        return sent

    def _take_inputs(self, cycle: Cycle) -> tuple[list[StepValue], Measurements]:
        """Messages of feeds and of upstream, then the process image; returns the steps that have closed, and the image."""
        closed: list[StepValue] = []
        clock_trusted = False
        with self._stages.guard(Stage.INPUTS, "clock"):
            self._keep_time(cycle)
            clock_trusted = self._time.trusted
        self._at = Instant(cycle.now_ms, cycle.now_s, clock_trusted)
        with self._stages.guard(Stage.INPUTS, "feeds"):
            closed = self._feeds.take(cycle, self._time)
        self._receive(self._at)
        with self._stages.guard(Stage.INPUTS, "second agent"):
            self._exchange.hear_local(cycle.arrived)
        self._mode = Mode.OBSERVE if self._exchange.control_hindered else self._feeds.mode
        with self._stages.guard(Stage.INPUTS, "accuracy"):
            self._accuracy.closed(closed, self._history)
        image = self._image.aged(cycle.now_ms)
        with self._stages.guard(Stage.INPUTS, "image"):
            image = self._image.take(
                cycle.now_ms,
                self._not_followed(),
                now_s=cycle.now_s,
                clock_trusted=clock_trusted,
                in_force_kw=self._sender.in_force_kw(cycle.now_ms),
            )
        return closed, image

    def _keep_time(self, cycle: Cycle) -> None:
        """The trust in the clock; after a restart and when the clock was set, what is kept keeps its age."""
        starts, self._now_s = self._time.offset_ms is None, cycle.now_s
        self._time = next_time(
            self._time,
            now_ms=cycle.now_ms,
            now_s=cycle.now_s,
            synchronized=cycle.synchronized,
            agreeing_feeds=self._feeds.agreeing(cycle),
            earliest_ms=self._earliest_ms,
        )
        if starts:
            trusted = self._time.trusted
            self._regulator = restored_regulator_state(self._regulator, now_ms=cycle.now_ms, clock_trusted=trusted)
            self._image.restored(cycle.now_ms, clock_trusted=trusted)
        elif self._time.moved_ms:
            logger.warning("agent clock site=%s moved_ms=%d", self._config.site, self._time.moved_ms)
            self._regulator = move_regulator_state(self._regulator, self._time.moved_ms)
            self._image.move_clock(self._time.moved_ms)
            self._sender.move_clock(self._time.moved_ms)

    def _receive(self, at: Instant | None) -> None:
        with self._stages.guard(Stage.INPUTS, "upstream"):
            self._exchange.receive(at)

    def _update_plan(self, *, waits: bool) -> None:
        """Request a plan when its inputs have changed, and report a new one; in a simulation, wait for it."""
        not_followed, self._planned_around = self._planned_around, self._not_followed()
        changed = self._exchange.plan_inputs_changed() or not_followed != self._planned_around or self._time.moved_ms
        due = self._plan_due = bool(self._plan_due or self._planner.newest() is None or changed)
        if due:
            self._planner.request(self.snapshot())
        plan = self._planner.wait(self._config.planner_timeout_s) if due and waits else self._planner.poll()
        self._plan_due = False
        if self._planner.restarts != self._planner_restarts:
            self._planner_restarts = self._planner.restarts
            self._stages.count(Stage.PLAN)
            self._exchange.planner_died(self._planner.failure)
        if plan is not None:
            self._exchange.models_ran(plan.forecasts)
            self._report_plan(plan)

    def _control(self, image: Measurements) -> int:
        """Setpoints by plan and regulator, limited and sent."""
        regulation, regulator = regulate(image, self._planner.newest(), self._regulator, self._site)
        limited = limit_setpoints(
            regulation.setpoints,
            positions=regulation.positions,
            site=self._site,
            measurements=image,
            previous=regulator.sent,
        )
        sent, mode = 0, self._mode
        if mode is Mode.CONTROL:
            self._enter_control(image.now_ms)
            setpoints = CycleSetpoints(limited.power_kw, limited.positions, regulation.fallback, regulation.reason)
            publish = self._local.publish_setpoint
            sent = self._sender.send(setpoints, image.newest, now_ms=image.now_ms, publish=publish)
            regulator = remember(regulator, self._sender.in_force_kw(image.now_ms), image.now_ms)
        else:
            self._leave_control(image.now_ms, "observe")
            self._sender.forget()
            regulator = remember(regulator, {}, image.now_ms)
            regulator = replace(regulator, balance=forget_responses(regulator.balance))
        before, self._regulator, self._regulation = self._regulation, regulator, regulation
        with self._stages.guard(Stage.REPORTS, "setpoints"):
            self._log_changes(before, regulation)
            report = self._reports.report(regulation, limited, mode, image.now_ms)
            if report is not None:
                self._journal.report(*report)
        return sent

    def _enter_control(self, now_ms: int) -> None:
        """Deposit the wills; after the return of a connection every setpoint goes out at once."""
        if not self._wills.is_open and self._orders:
            self._wills.open(self._leave_messages(now_ms, WILL_SEQUENCE, "the agent is gone"))
        local_connects, self._local_connects = self._local_connects, self._local.connects
        if self._wills.lost() or (self._in_control and local_connects != self._local_connects):
            self._sender.repeat_all()
        self._in_control = True

    def _leave_control(self, now_ms: int, reason: str) -> None:
        """Say once to the equipment that control ends."""
        if not self._in_control:
            return
        self._in_control = False
        messages = self._leave_messages(now_ms, self._sender.next_sequence(now_ms), reason)
        unsent = self._wills.close(messages, self._local.publish_setpoint)
        logger.warning(
            "agent leaves control site=%s reason=%s orders=%s not_sent=%s",
            self._config.site,
            reason,
            ",".join(f"{name}:{order}" for name, order in self._orders.items()),
            ",".join(unsent),
        )

    def _leave_messages(self, now_ms: int, sequence: int, reason: str) -> dict[str, LeaveMessage]:
        return leave_messages(self._config.outputs, self._site, sequence=sequence, now_ms=now_ms, reason=reason)

    def _conclude(self, cycle: Cycle) -> None:
        """Write the state at intervals, and in a simulation before each answer; then publish and report."""
        waited_ms = abs(cycle.now_ms - self._committed_ms)
        due = waited_ms >= 1000 * self._config.commit_interval_s or self._time.moved_ms
        with self._stages.guard(Stage.REPORTS, "state"):
            if cycle.tick is not None:
                self._journal.keep("tick", cycle.tick)
            if due or cycle.tick is not None:
                self._committed_ms = cycle.now_ms
                self._write()
        self._send()

    def _send(self) -> None:
        """Exchange with upstream: messages, models, and last the status, which names what has failed before it."""
        with self._stages.guard(Stage.REPORTS, "outbox"):
            self._exchange.send()
        with self._stages.guard(Stage.REPORTS, "models"):
            self._exchange.update_models()
        with self._stages.guard(Stage.REPORTS, "status"):
            self._exchange.report(self._control_state())

    def _not_followed(self) -> list[str]:
        """Equipment that does not follow its setpoints, or is stopped because it does the opposite."""
        return list(dict.fromkeys([*self._sender.not_followed, *sorted(self._regulator.balance.stopped)]))

    def snapshot(self) -> Snapshot:
        """Inputs of a plan in the present cycle."""
        return self._image.snapshot(
            signals=self._config.feeds,
            billing_peak_kw=self._regulator.peaks_kw,
            models=self._exchange.model_files,
        )

    def _control_state(self) -> ControlState:
        plan, failure = self._planner.newest(), self._planner.failure
        sender_reasons = tuple(self._feeds.sender_reasons(self._now_s, self._time))
        return ControlState(
            measurements=self._image.measurements,
            mode=self._mode,
            fallback=self._regulation.fallback,
            reasons=[
                *self._feeds.reasons,
                *(
                    Reason(ReasonCode.WILL_MISSING, f"if the agent dies, nobody tells {name}: {trouble}", name)
                    for name, trouble in self._wills.troubles
                ),
                *self._regulation.reasons,
                *self._time.reasons,
                *self._image.limit_reasons,
                *sender_reasons,
                *self._image.reasons,
                *(plan.reasons if plan else ()),
                *([Reason(ReasonCode.PLANNER_FAILED, failure)] if failure else ()),
                *self._stages.reasons,
                *([Reason(ReasonCode.SYSTEMD_NOT_NOTIFIED, self._watchdog.trouble)] if self._watchdog.trouble else ()),
            ],
            limits=self._image.limits,
            not_followed=self._not_followed(),
            failsafe=self._regulator.failsafe,
            balance_residual_kw=self._regulator.balance.residual_kw,
            feed_reasons={r.about: r.text for r in sender_reasons} | feed_reasons(self._regulator.balance),
            billing_peak_kw=self._regulator.billing_peak_kw,
            accuracy=self._accuracy,
            stage_failures=self._stages.failures,
        )

    def _report_plan(self, plan: Plan) -> None:
        for report in plan_reports(plan):
            self._journal.report(*report)
        self._accuracy.issued(plan)
        logger.info(
            "agent plan site=%s now_ms=%d dispatch=%s plan_ms=%.1f releases=%s mode=%s fallback=%s",
            self._config.site,
            self._image.measurements.now_ms,
            plan.fallback,
            plan.plan_ms,
            ",".join(f"{f.signal}:{f.release}" for f in plan.forecasts),
            self._mode,
            self._regulation.fallback,
        )

    def _log_changes(self, before: Regulation, after: Regulation) -> None:
        """Log each change of fallback level or problem once."""
        new = new_problems(before.reasons, after.reasons)
        if after.fallback is before.fallback and not new:
            return
        level = logging.INFO if after.fallback in GOOD and not new else logging.WARNING
        logger.log(level, "agent fallback site=%s fallback=%s %s", self._config.site, after.fallback, reason_text(new))

    # State

    def _write(self) -> None:
        self._journal.keep("setpoint_sequence", self._sender.last_sequence)
        self._journal.keep("last_trusted_ms", self._time.last_trusted_ms)
        self._journal.keep("regulator", encode_kept(replace(self._regulator, balance=Balance())))
        self._journal.keep("tracked", encode_kept(self._image.equipment_state))
        self._journal.commit()

    def _kept(self, name: str, default: KeptState) -> KeptState:
        """A state from before the restart, or else the default."""
        kept = self._journal.kept(name)
        if kept is None:
            return default
        try:
            return decode_kept(kept, type(default))
        except ValueError as error:
            logger.warning("kept state %s is damaged or of another version and starts over: %s", name, error)
            return default

    def _start(self) -> None:
        """Connect first: the rule controls until the planner, which loads for a second, has its first plan."""
        self._local.start()
        self._exchange.start()
        with self._stages.guard(Stage.PLAN):
            self._planner.start()
        logger.info("agent start site=%s mode=%s stream=%s", self._config.site, self._config.mode, self._exchange.stream)
        self._watchdog.ready()

    def close(self) -> None:
        """Leave control, write the state, end the connections and the planner."""
        with self._stages.guard(Stage.CONTROL, "stop"):
            self._leave_control(self._image.measurements.now_ms, "stop")
        steps = (
            self._write,
            self._planner.close,
            self._exchange.close,
            self._wills.finish,
            self._local.stop,
            self._state.close,
        )
        for close in steps:
            with self._stages.guard(Stage.REPORTS, "stop"):
                close()
        logger.info("agent stop site=%s", self._config.site)


def _instant(kept: object) -> int | None:
    return kept if isinstance(kept, int) else None


def _open_state(loaded: LoadedConfig) -> StateFile:
    """The state file.

    Raises:
        ConfigError: If it is in use by another agent.
    """
    path = loaded.path(loaded.config.state_folder) / "agent.sqlite3"
    try:
        return StateFile(path, outbox_messages_max=loaded.config.outbox.messages_max)
    except StateFileInUseError as error:
        raise ConfigError(f"{error}: each agent needs a state_folder of its own") from error
