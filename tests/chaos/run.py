"""One run: faults one after the other under load, then calm, then the reckoning."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

import polars as pl
from msgspec import Struct
from msgspec import json as msgspec_json

from chaos.checks import check_order
from chaos.faults import Fault
from chaos.ledger import Ledger
from chaos.ring import Ring
from chaos.scraper import Scraper
from ringmain_protocol import topics
from ringmain_trainer.history.delta import scan
from servers.base import wait_until

CALM_S: Final = 3.0
"""Numbers go on so long after the last fault: what a broker forgot shows as a gap below the next ones."""
DRAIN_TIMEOUT_S: Final = 150.0
RECONNECT_TIMEOUT_S: Final = 90.0


class Result(Struct, kw_only=True):
    """The figures of a run; `checks` says what the words mean.

    Attributes:
        faults: Faults injected.
        sent: Numbers accepted by the publishing sites.
        lost: Accepted numbers that are not in Kafka or not in the history.
        reordered: Late numbers without an explanation.
        duplicates: Occurrences in Kafka beyond the first.
        invariant_violations: Scrapes whose books did not balance.
        resent_late: Late numbers that a killed broker or agent had forgotten.
        refused: Numbers that a full disk kept from being accepted.
        refused_but_sent: Those that are in Kafka nevertheless.
        history_repeated: Rows of the history beyond the first of their number.
        dead_letters: Dead letters by reason.
        outbox_left: Messages for which no receipt came in the end.
        ended: How often a program ended by itself.
        killed: How often a program was killed.
        produce_errors: Produce requests that Kafka refused.
        clock_off_s: Furthest that the bridge's clock was off.
    """

    faults: int
    sent: int
    lost: int
    reordered: int
    duplicates: int
    invariant_violations: int
    resent_late: int
    refused: int
    refused_but_sent: int
    history_repeated: int
    dead_letters: dict[str, int]
    outbox_left: int
    ended: dict[str, int]
    killed: dict[str, int]
    produce_errors: int
    clock_off_s: float
    kinds: dict[str, int]
    scrapes: int
    seconds: float
    drain_s: float

    @property
    def passed(self) -> bool:
        """Whether every promise was kept."""
        broken = (
            *(self.lost, self.reordered, self.invariant_violations, self.refused_but_sent, self.history_repeated),
            *(self.outbox_left, sum(self.dead_letters.values())),
            *(count for name, count in self.ended.items() if name.startswith("publishers")),
        )
        return not any(broken) and self.sent > 0


def run(folder: Path, faults: Sequence[Fault]) -> Result:
    """Run the ring in a folder, and leave there the logs, `events.txt`, `publishers.txt` and `result.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    began_s = time.monotonic()
    with Ring(folder) as ring:
        ledger = Ledger(ring.kafka, ring.publishers.names)
        scraper = Scraper(ring.http_port)
        ledger.start()
        scraper.start()
        try:
            wait_until(lambda: all(ledger.order.values()), what="every site is in Kafka")
            _inject(ring, ledger, faults)
            drain_s = _drain(ring, ledger)
        finally:
            scraper.stop()
            ledger.stop()
        ring.publishers.stop()
        _finish_ingest(ring)
        result = _reckon(ring, ledger, scraper, faults, seconds=time.monotonic() - began_s, drain_s=drain_s)
    (folder / "result.json").write_bytes(msgspec_json.encode(result) + b"\n")
    return result


def _inject(ring: Ring, ledger: Ledger, faults: Sequence[Fault]) -> None:
    """All faults; one that failed to be done is an error of the test, and raised."""
    begin_s = time.monotonic()
    with ThreadPoolExecutor(8) as pool, (ring.folder / "events.txt").open("a", encoding="utf-8", buffering=1) as events:
        under_way: list[Future[None]] = []
        for number, fault in enumerate(faults, 1):
            now_s = time.monotonic()
            events.write(f"{now_s:.3f} {number} {json.dumps(fault._asdict())}\n")
            _say(
                f"{now_s - begin_s:6.1f} s  {number}/{len(faults)} {fault.kind} {fault.seconds:.1f} s"
                f"  sent={ring.publishers.sent} in_kafka={sum(map(len, ledger.order.values()))}"
                f" outbox={sum(ring.publishers.outbox.values())}"
            )
            done = pool.submit(ring.inject, fault)
            under_way.append(done)
            if not fault.overlaps:
                done.result()
            time.sleep(fault.next_after_s)
        for done in under_way:
            done.result()


def _drain(ring: Ring, ledger: Ledger) -> float:
    """Wait until Kafka has what was accepted, and the outboxes are empty; what is missing then is counted, not raised."""
    began_s = time.monotonic()
    _wait(lambda: ring.bridge_connected, RECONNECT_TIMEOUT_S, "the bridge is connected again")
    time.sleep(CALM_S)
    ring.publishers.drain()
    time.sleep(0.5)

    def drained() -> bool:
        everything = all(ledger.seen_s[site].keys() >= numbers.keys() for site, numbers in ring.publishers.accepted.items())
        return everything and not any(ring.publishers.outbox.values())

    _wait(drained, DRAIN_TIMEOUT_S, "everything is in Kafka, and the outboxes are empty")
    return time.monotonic() - began_s


def _finish_ingest(ring: Ring) -> None:
    """End the continuous ingest as an operator would, then read the rest to the end."""
    ring.ingest.stop()
    with (ring.folder / "logs" / "ingest-once.log").open("ab") as log:
        done = subprocess.run(ring.trainer_command("ingest", "--once"), stdout=log, stderr=log, check=False, timeout=120)
    if done.returncode:
        _say(f"the last ingest ended with status {done.returncode}")


def _reckon(
    ring: Ring, ledger: Ledger, scraper: Scraper, faults: Sequence[Fault], *, seconds: float, drain_s: float
) -> Result:
    publishers, outages = ring.publishers, ring.outages()
    rows = scan(str(ring.history), topics.READINGS).group_by("site", pl.col("value").cast(pl.Int64)).agg(pl.len()).collect()
    history: dict[str, dict[int, int]] = {site: {} for site in publishers.names}
    for site, number, count in rows.iter_rows():
        history[site][number] = count
    missing: dict[str, dict[str, list[int]]] = {}
    reordered: dict[str, list[int]] = {}
    resent_late = refused_but_sent = 0
    for site in publishers.names:
        accepted = publishers.accepted[site]
        gone = {
            "kafka": sorted(accepted.keys() - ledger.seen_s[site].keys()),
            "history": sorted(accepted.keys() - history[site].keys()),
        }
        if any(gone.values()):
            missing[site] = gone
        refused_but_sent += len(publishers.refused[site] & ledger.seen_s[site].keys())
        order = check_order(
            ledger.order[site],
            accepted_s=accepted,
            seen_s=ledger.seen_s[site],
            resent_s=publishers.resent[site],
            outages=[outage for outage in outages if site in outage.sites],
        )
        resent_late += len(order.resent_late)
        if order.reordered:
            reordered[site] = order.reordered
    programs = [ring.bridge, ring.ingest, *publishers.workers]
    result = Result(
        faults=len(faults),
        sent=publishers.sent,
        lost=sum(len(set(gone["kafka"]) | set(gone["history"])) for gone in missing.values()),
        reordered=sum(map(len, reordered.values())),
        duplicates=sum(count.total() - len(count) for count in ledger.count.values()),
        invariant_violations=len(scraper.violations),
        resent_late=resent_late,
        refused=sum(map(len, publishers.refused.values())),
        refused_but_sent=refused_but_sent,
        history_repeated=sum(count - 1 for numbers in history.values() for count in numbers.values()),
        dead_letters=dict(ledger.dead_letters),
        outbox_left=sum(publishers.outbox.values()),
        ended={program.name: program.ended for program in programs},
        produce_errors=ring.produce_errors,
        clock_off_s=round(ledger.clock_off_s),
        killed={program.name: program.killed for program in programs},
        kinds={kind: sum(fault.kind == kind for fault in faults) for kind in sorted({fault.kind for fault in faults})},
        scrapes=scraper.scrapes,
        seconds=round(seconds, 1),
        drain_s=round(drain_s, 1),
    )
    if not result.passed:
        _keep_evidence(ring, ledger, scraper, missing, reordered)
    return result


def _keep_evidence(
    ring: Ring, ledger: Ledger, scraper: Scraper, missing: dict[str, dict[str, list[int]]], reordered: dict[str, list[int]]
) -> None:
    """For every number that broke a promise: when it was accepted, published again, and seen in Kafka."""
    publishers = ring.publishers

    def story(site: str, number: int) -> dict[str, object]:
        order = ledger.order[site]
        at = order.index(number) if number in ledger.seen_s[site] else None
        return {
            "number": number,
            "accepted_s": publishers.accepted[site].get(number),
            "resent_s": publishers.resent[site].get(number, []),
            "seen_s": ledger.seen_s[site].get(number),
            "times_in_kafka": ledger.count[site][number],
            "around_in_kafka": [] if at is None else order[max(at - 5, 0) : at + 6],
        }

    evidence = {
        "missing": {
            site: {where: [story(site, n) for n in numbers[:200]] for where, numbers in gone.items()}
            for site, gone in missing.items()
        },
        "reordered": {site: [story(site, n) for n in numbers[:200]] for site, numbers in reordered.items()},
        "invariant_violations": scraper.violations,
        "outbox_left": publishers.outbox,
        "outages": [outage._replace(sites=sorted(outage.sites))._asdict() for outage in ring.outages()],  # type: ignore[arg-type]
    }
    path = ring.folder / "evidence.json"
    path.write_text(json.dumps(evidence, indent=1) + "\n", encoding="utf-8")
    _say(f"a promise was broken: {path}, times on the monotonic clock as in events.txt and logs/")


def _wait(condition: Callable[[], bool], timeout_s: float, what: str) -> None:
    """What does not come about in time is said here, and shows in the figures."""
    try:
        wait_until(condition, timeout_s=timeout_s, what=what)
    except TimeoutError as error:
        _say(str(error))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
