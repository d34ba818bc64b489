"""Speed from Kafka to the history, and of reading a site out of it again. Prints one JSON object.

Real Kafka, records as the bridge writes them (key, headers, compression) from 500 sites; `readings` in batches of 20 as the
agent sends them while its feeds are busy, `steps` with one value of each signal. The ingest is the program as it is
installed, `ringmain-trainer ingest --once` with the sample configuration; its time runs from its first look at Kafka to the
last commit, its memory is the most that it ever held. Kafka shares the machine. Beside it stands a client that only fetches
the same records and looks at none of them.

The last two figures come from a table of 1,000 sites and two years, see `benchmarks.history_reads`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, NamedTuple

from confluent_kafka import Consumer, Producer, TopicPartition
from deltalake import DeltaTable

from benchmarks.history_reads import require, site_read
from ringmain_protocol import messages, topics

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from servers.kafka import Kafka

SITES: Final = 500
PARTITIONS: Final = 12
READINGS_A_MESSAGE: Final = 20
SIGNALS: Final = ("load_kw", "pv_kw", "pcc_kw", "battery_kw", "battery_soc_kwh", "charger_kw", "store_degc", "voltage_pu")
BEGIN_MS: Final = 1_790_000_000_000
STEP_S: Final = 900


class Run(NamedTuple):
    """Figures of one run."""

    summary: dict[str, Any]
    process_s: float
    cpu_s: float
    rss_mb: float


def readings(count: int) -> Iterator[tuple[str, bytes]]:
    """Batches of `sites` sites in turn: site and payload."""
    for number in range(count):
        sequence = 1 + number // SITES
        at_ms = BEGIN_MS + 7000 * sequence
        n = range(READINGS_A_MESSAGE)
        yield (
            _site(number),
            messages.encode(
                messages.Readings(
                    stream=_stream(number),
                    sequence=sequence,
                    signals=[SIGNALS[k % 3] for k in n],
                    at_ms=[at_ms + 350 * k for k in n],
                    values=[round(100 + 37.7 * ((number + k) % 17), 2) for k in n],
                    quality=[messages.Quality.GOOD for _ in n],
                )
            ),
        )


def steps(count: int) -> Iterator[tuple[str, bytes]]:
    """One step of every signal a message: site and payload."""
    for number in range(count):
        sequence = 10_000_000 + number // SITES
        at_ms = 1000 * STEP_S * (BEGIN_MS // (1000 * STEP_S) + number // SITES)
        yield (
            _site(number),
            messages.encode(
                messages.Steps(
                    stream=_stream(number),
                    sequence=sequence,
                    step_s=STEP_S,
                    signals=list(SIGNALS),
                    at_ms=[at_ms] * len(SIGNALS),
                    values=[round(100 + 37.7 * ((number + k) % 17), 4) for k in range(len(SIGNALS))],
                    quality=[messages.Quality.GOOD] * len(SIGNALS),
                )
            ),
        )


def send(kafka: Kafka, kind: str, payloads: Iterator[tuple[str, bytes]]) -> int:
    """Put messages into Kafka as the bridge does; how many."""
    settings: dict[str, Any] = {
        "bootstrap.servers": kafka.bootstrap_servers,
        "enable.idempotence": True,
        "compression.type": "lz4",
        "linger.ms": 5,
        "queue.buffering.max.messages": 500_000,
    }
    producer, count = Producer(settings), 0
    for site, payload in payloads:
        headers: Any = [
            ("mqtt_topic", topics.topic(site, kind).encode()),
            *(("qos", b"1"), ("retain", b"0"), ("dup", b"0"), ("received_ms", b"1790000005000"), ("replica", b"0")),
        ]
        while True:
            try:
                producer.produce(topics.KAFKA_TOPICS[kind], payload, site, headers=headers)
                break
            except BufferError:
                producer.poll(0.1)
        count += 1
        producer.poll(0)
    require(producer.flush(120) == 0, "Kafka has not taken all records")
    return count


def fetch(kafka: Kafka, kind: str, count: int) -> float:
    """Records a second of a client that only fetches."""
    settings: dict[str, Any] = {"bootstrap.servers": kafka.bootstrap_servers, "group.id": "fetch", "log_level": 0}
    consumer = Consumer(settings)
    consumer.assign([TopicPartition(topics.KAFKA_TOPICS[kind], partition, 0) for partition in range(PARTITIONS)])
    begin, found = time.perf_counter(), 0
    while found < count:
        found += len(consumer.consume(2000, 0.2))
    took_s = time.perf_counter() - begin
    consumer.close()
    return found / took_s


def ingest(kafka: Kafka, folder: Path) -> Run:
    """The program, until it has read everything."""
    config = folder / "trainer.toml"
    config.write_text(f"history = {json.dumps(str(folder / 'history'))}\n[ingest]\nprogress_s = 2.0\n")
    command = [sys.executable, "-m", "ringmain_trainer", "ingest", "--once", "--config", str(config), "--json"]
    begin = time.perf_counter()
    with (folder / "ingest.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, str(folder / "summary.json"), "--kafka", kafka.bootstrap_servers], stdout=log, stderr=log
        )
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    require(process.returncode == 0, (folder / "ingest.log").read_text(errors="replace")[-2000:])
    _say((folder / "ingest.log").read_text(errors="replace"))
    cpu_s, rss_mb = usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6
    return Run(json.loads((folder / "summary.json").read_text()), time.perf_counter() - begin, cpu_s, rss_mb)


def measure(kafka: Kafka, folder: Path, kind: str, count: int) -> tuple[Run, dict[str, Any]]:
    """Send, fetch, ingest messages of one kind; the run, and its figures."""
    for topic in topics.KAFKA_TOPICS.values():
        kafka.create_topic(topic, PARTITIONS)
    payloads = readings(count) if kind == topics.READINGS else steps(count)
    each = READINGS_A_MESSAGE if kind == topics.READINGS else len(SIGNALS)
    begin = time.perf_counter()
    send(kafka, kind, payloads)
    _say(f"{kind}: {count:,} messages sent in {time.perf_counter() - begin:.1f} s")
    fetched_s = fetch(kafka, kind, count)
    folder.mkdir()
    run = ingest(kafka, folder)
    table = "readings" if kind == topics.READINGS else "steps"
    handle = DeltaTable(str(folder / "history" / table))
    require(handle.count() == count * each, f"{handle.count()} rows in the table, not {count * each}")
    kafka.delete_topics()
    rows_s = run.summary["rows_s"]
    return run, {
        f"{kind}_per_s": round(rows_s),
        f"{kind}_messages": count,
        f"{kind}_rows": count * each,
        f"{kind}_commits": run.summary["commits"],
        f"{kind}_program_s": round(run.process_s, 2),
        f"{kind}_program_cpu_s": round(run.cpu_s, 2),
        f"{kind}_files": len(handle.file_uris()),
        f"{kind}_fetch_only_per_s": round(fetched_s * each),
        f"{kind}_ratio_to_fetch_only": round(rows_s / (fetched_s * each), 3),
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ingest", description=__doc__)
    parser.add_argument("--readings", type=int, default=400_000, metavar="N", help="messages of 20 readings")
    parser.add_argument("--steps", type=int, default=400_000, metavar="N", help="messages of 8 step values")
    parser.add_argument("--without-reads", action="store_true", help="leave out the table of 70 million rows")
    parser.add_argument("--sites", type=int, default=1000, metavar="N", help="of the table that sites are read from")
    parser.add_argument("--days", type=int, default=730, metavar="N", help="of that table")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        kafka = Kafka(folder / "kafka")
        stack.callback(kafka.stop)
        kafka.start()
        of_readings, figures = measure(kafka, folder / "readings", topics.READINGS, options.readings)
        of_steps, more = measure(kafka, folder / "steps", topics.STEPS, options.steps)
        kafka.stop()
        result: dict[str, Any] = {
            "readings_per_s": figures.pop("readings_per_s"),
            "steps_per_s": more.pop("steps_per_s"),
            "rss_mb_max": round(max(of_readings.rss_mb, of_steps.rss_mb), 1),
        }
        if not options.without_reads:
            found = site_read(folder / "reads", sites=options.sites, days=options.days)
            result |= {key: found.pop(key) for key in ("site_read_s", "files_touched_share")}
            figures |= {f"reads_{key}": value for key, value in found.items()}
        print(json.dumps(result | figures | more))


def _site(number: int) -> str:
    return f"site-{number % SITES:03d}"


def _stream(number: int) -> str:
    return f"{number % SITES:032x}"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
