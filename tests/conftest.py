"""Fixtures only; nothing imports from here. The servers themselves are in the package `servers` beside this file."""

import os
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import settings

from servers.base import Server, ServerMissingError
from servers.kafka import Kafka
from servers.mosquitto import Mosquitto
from servers.prometheus import Prometheus

AnyServer = TypeVar("AnyServer", bound=Server)

settings.register_profile("ringmain", deadline=None)  # a busy machine is no failure
settings.register_profile("long", settings.get_profile("ringmain"), max_examples=100_000)  # HYPOTHESIS_PROFILE=long
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ringmain"))


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    """A running broker of this test alone."""
    with ExitStack() as stack:
        yield _start(stack, Mosquitto(tmp_path / "mosquitto"))


@pytest.fixture
def new_mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Mosquitto]]:
    """Starts as many brokers as a test asks for: `new_mosquitto(config="further lines of mosquitto.conf")`."""
    with ExitStack() as stack:
        yield lambda config="": _start(stack, Mosquitto(tmp_path_factory.mktemp("mosquitto"), config))


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """One running Kafka for the whole run; topics of other tests may be in it. `fresh_kafka` is what most tests want."""
    with ExitStack() as stack:
        yield _start(stack, Kafka(tmp_path_factory.mktemp("kafka")))


@pytest.fixture
def fresh_kafka(kafka: Kafka) -> Kafka:
    """The running Kafka without any topic."""
    kafka.start()
    kafka.delete_topics()
    return kafka


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[Kafka]:
    """A running Kafka of this test alone: for tests that kill it, or that need its full memory."""
    with ExitStack() as stack:
        yield _start(stack, Kafka(tmp_path / "kafka"))


@pytest.fixture
def new_prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Prometheus]]:
    """Starts a Prometheus: `new_prometheus("127.0.0.1:9464", ...)`; without a target it scrapes itself."""
    with ExitStack() as stack:
        yield lambda *targets, rules=(): _start(stack, Prometheus(tmp_path_factory.mktemp("prometheus"), targets, rules))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test shows the logs of its servers; in CI a skip that is not on the list fails."""
    report = yield
    if report.failed:
        for server in getattr(item, "funcargs", {}).values():
            if isinstance(server, Server):
                report.sections.append((f"log of {server.name} ({server.log_file})", server.log_tail()))
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A whole file that is skipped counts as a skip as well."""
    report = yield
    _refuse_skip(report)
    return report


def _start(stack: ExitStack, server: AnyServer) -> AnyServer:
    stack.callback(server.stop)
    try:
        server.start()
    except ServerMissingError as error:
        pytest.skip(str(error))
    return server


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip into a failure when CI=true, unless its test is named in ALLOWED_SKIPS (see the Makefile)."""
    if not report.skipped or hasattr(report, "wasxfail") or os.environ.get("CI") != "true":
        return
    if not any(allowed in report.nodeid for allowed in os.environ.get("ALLOWED_SKIPS", "").split()):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid}: skipped in CI, and not on the list ALLOWED_SKIPS in the Makefile: {reason}"
