"""Wiring of the running bridge: threads, signals, start and stop.

The main thread is the poll thread. The reader and the web server have threads of their own.
"""

import argparse
import logging
import os
import signal
import threading
import time
from functools import partial
from importlib import metadata
from random import Random
from types import FrameType
from typing import Final

from confluent_kafka import KafkaException

from ringmain_bridge.bridge import Bridge
from ringmain_bridge.config import BridgeConfig
from ringmain_bridge.fleet.web import WebServer
from ringmain_bridge.forwarding.kafka_writer import KafkaFatalError, KafkaWriter
from ringmain_bridge.forwarding.receipts import Receipts
from ringmain_bridge.mqtt.session import PahoReader
from ringmain_bridge.replicas import AbandonedSessions, foreign_filters
from ringmain_program.backoff import BackOff
from ringmain_program.command import EXIT_CONFIG, EXIT_DONE, EXIT_FAILED, Clock, Outcome
from ringmain_protocol import topics

HEARTBEAT_MAX_S: Final = 60.0
FLOW_EVERY_S: Final = 60.0
DISCONNECT_TIMEOUT_S: Final = 2.0
DRAINED_ROUNDS: Final = 2
"""A message that the network thread was just taking in when the stop began appears in the next round."""

LOG = logging.getLogger("ringmain_bridge")


def run(config: BridgeConfig, _options: argparse.Namespace, _clock: Clock) -> Outcome:
    """Run until SIGTERM or SIGINT."""
    try:
        running = _Running(config)
    except KafkaException as error:  # librdkafka reads certificates and keys at once
        LOG.error("configuration: kafka: %s", error.args[0].str())  # noqa: TRY400
        return Outcome(status=EXIT_CONFIG)
    except (OSError, ValueError) as error:  # the password file was removed after the check of the configuration
        LOG.error("configuration: kafka: %s", error)  # noqa: TRY400
        return Outcome(status=EXIT_CONFIG)
    return Outcome(status=running.run())


class _Running:
    """One run of the bridge, in the main thread."""

    def __init__(self, config: BridgeConfig) -> None:
        self._config = config
        self._random = Random()  # noqa: S311  jitter
        self._stop = threading.Event()
        self._heartbeat_s = time.monotonic()
        self._reader = PahoReader(
            config.mqtt,
            client_id=config.client_id,
            filters=topics.bridge_filters(config.replica, config.replicas),
            foreign=foreign_filters(config.replica, config.replicas),
            random=self._random,
        )
        self._writer = KafkaWriter(config.kafka, client_id=config.client_id, queue_bytes=2 * config.limits.window_bytes)
        version = metadata.version("ringmain")
        limits = config.limits
        receipts = Receipts(interval_s=limits.receipt_interval_s, expiry_s=limits.site_expiry_s, sites_max=limits.sites_max)
        new_bridge = partial(Bridge, config, writer=self._writer, random=self._random, version=version, receipts=receipts)
        self._abandoned = AbandonedSessions(config.mqtt, config.abandoned_client_ids, new_bridge, self._random)
        self._bridge = new_bridge(self._reader, sources=[self._abandoned.counts])

    def run(self) -> int:
        threading.excepthook = _end_the_process
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        http = self._config.http
        try:
            web = WebServer(
                http.listen, http.port, metrics=self._bridge.metrics, health=self._health, fleet=self._fleet_page
            )
        except OSError as error:
            LOG.error("cannot listen on %s:%d: %s; choose another `http.port`", http.listen, http.port, error.strerror)  # noqa: TRY400
            return EXIT_FAILED
        web.start()
        LOG.info("listening http://%s:%d/metrics", http.listen, web.port)
        try:
            self._await_topics()
            if not self._stop.is_set():
                self._reader.start(self._bridge)
                self._abandoned.start()
            self._forward()
            self._drain()
        except KafkaFatalError as error:
            LOG.critical("kafka producer has failed for good, stopping: %s", error)
            return EXIT_FAILED
        finally:
            web.stop()
        return EXIT_DONE

    def _await_topics(self) -> None:
        """Wait until Kafka has all topics. MQTT is not read before; the broker keeps the messages."""
        backoff = BackOff(self._random)
        names, logged = [*topics.KAFKA_TOPICS.values(), topics.DEADLETTER], ""
        while not self._stop.is_set():
            self._heartbeat_s = time.monotonic()
            problem = self._writer.create_missing_topics(names)
            self._writer.poll(0, now_s=self._heartbeat_s)
            if problem is None:
                self._bridge.kafka_ready = True
                LOG.info("kafka ready bootstrap_servers=%s", self._config.kafka.bootstrap_servers)
                return
            delay_s = backoff.next_s()
            level = logging.DEBUG if problem == logged else logging.WARNING
            LOG.log(level, "kafka not ready, waiting: %s", problem)
            logged = problem
            self._stop.wait(delay_s)

    def _forward(self) -> None:
        next_flow_s = time.monotonic() + FLOW_EVERY_S
        while not self._stop.is_set():
            now_s = self._heartbeat_s = time.monotonic()
            self._round(now_s)
            if now_s >= next_flow_s:
                next_flow_s = now_s + FLOW_EVERY_S
                counts = self._bridge.counts()
                LOG.info(
                    "flow received=%d delivered=%d dead_lettered=%d dropped=%d in_flight=%d",
                    counts.received, counts.delivered, sum(counts.dead_lettered.values()), sum(counts.dropped.values()),
                    counts.in_flight,
                )  # fmt: skip

    def _drain(self) -> None:
        """Acknowledge all records that Kafka confirms before the deadline; the broker sends the rest at the next start."""
        LOG.info("stopping")
        self._bridge.begin_stop()
        self._abandoned.stop()
        deadline_s = time.monotonic() + self._config.limits.stop_timeout_s
        drained_rounds = 0
        while self._bridge.kafka_ready and (now_s := time.monotonic()) < deadline_s:
            self._round(now_s)
            drained_rounds = drained_rounds + 1 if self._bridge.is_drained() else 0
            if drained_rounds == DRAINED_ROUNDS:
                break
        self._reader.stop(DISCONNECT_TIMEOUT_S)
        self._abandoned.join()
        LOG.info("stopped in_flight=%d", self._bridge.counts().in_flight)

    def _round(self, now_s: float) -> None:
        self._bridge.round(now_s=now_s)
        self._abandoned.confirm(now_s=now_s)

    def _health(self) -> tuple[bool, str]:
        """Whether the poll thread is alive. A missing broker or Kafka shows in the metrics; a restart would not help."""
        age_s = time.monotonic() - self._heartbeat_s
        well = age_s < HEARTBEAT_MAX_S
        return well, f"{'ok' if well else 'stuck'} heartbeat_age_s={age_s:.1f} mqtt_connected={self._reader.is_connected}"

    def _fleet_page(self) -> bytes:
        return self._bridge.fleet_page(time.time())

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._stop.set()


def _end_the_process(args: threading.ExceptHookArgs) -> None:
    """End the process after an unknown error in a thread. Its supervisor restarts it, and no message is lost."""
    if args.exc_type is SystemExit or args.exc_value is None:
        return
    LOG.critical("thread %s failed, stopping", args.thread and args.thread.name, exc_info=args.exc_value)
    logging.shutdown()
    os._exit(EXIT_FAILED)
