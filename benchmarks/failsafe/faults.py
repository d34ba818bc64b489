"""Every kind of fault: how it begins and ends at a site, and which words of the agent count as naming it.

A kind is *said* when a status that was published while the fault lasted or after it, a birth or will, or an answer holds
one of its `says` (regular expressions over the JSON), and the status before the fault did not.
"""

import re
import shutil
from collections.abc import Callable, Mapping
from random import Random
from signal import SIGKILL, SIGSTOP, Signals
from types import MappingProxyType
from typing import Final, NamedTuple

from benchmarks.failsafe.plant import Manner
from benchmarks.failsafe.rig import Distortion, Rig
from benchmarks.failsafe.site import BATTERY, CHARGERS, EQUIPMENT, PV, SiteDesign
from ringmain_protocol import topics

LOOKS: Final = 12
"""Statuses, each about a second of real time apart, until a model has been fetched, tested and refused."""
_FOLDERS: Final = ("slots/lost+found", "models.json.part", "slots/1.onnx")
_MODEL: Final = re.compile("refused|have the shape")
Act = Callable[[Rig], None]


def _nothing(_rig: Rig) -> None:
    """Nothing to do."""


class Fault(NamedTuple):
    """One fault at one site.

    Attributes:
        kind: Its kind.
        subject: What it happens to; two faults of a pair never share it.
        says: Regular expressions, of which one must be heard.
        begin: Begins it.
        end: Ends it.
        seconds: How long it lasts.
        every_second: Done in each second while it lasts.
    """

    kind: str
    subject: str
    says: tuple[str, ...]
    begin: Act
    end: Act = _nothing
    seconds: tuple[int, int] = (25, 60)
    every_second: Act = _nothing


Make = Callable[[SiteDesign, Random], Fault]


# Sensors


def _lost(_readings: list[tuple[int, float]]) -> None:
    return None


def _late(delay_s: int) -> Distortion:
    def late(readings: list[tuple[int, float]]) -> tuple[int, float] | None:
        return readings[-1 - delay_s] if len(readings) > delay_s else None

    return late


def _frozen() -> Distortion:
    kept: list[float] = []

    def frozen(readings: list[tuple[int, float]]) -> tuple[int, float]:
        kept.append(readings[-1][1])
        return readings[-1][0], kept[0]

    return frozen


def _times(factor: float) -> Distortion:
    def scaled(readings: list[tuple[int, float]]) -> tuple[int, float]:
        return readings[-1][0], factor * readings[-1][1]

    return scaled


_SENSOR: Final[Mapping[str, Callable[[Random], Distortion]]] = MappingProxyType(
    {
        "lost": lambda _random: _lost,
        "late": lambda random: _late(random.randint(12, 30)),
        "frozen": lambda _random: _frozen(),
        "wrong_sign": lambda _random: _times(-1.0),
        "70_percent": lambda _random: _times(0.7),
        "w_as_kw": lambda _random: _times(1000.0),
    }
)


def _sensor(kind: str, how: str, signals: Callable[[SiteDesign], tuple[str, ...]]) -> Make:
    """A sensor of a site that is lost or lies."""

    def make(design: SiteDesign, random: Random) -> Fault:
        signal = random.choice(signals(design))
        name = signal.removesuffix("_kw").removesuffix("_soc_kwh").removesuffix("_energy_kwh")

        def begin(rig: Rig) -> None:
            rig.distortions[signal] = _SENSOR[how](rig.random)

        def end(rig: Rig) -> None:
            del rig.distortions[signal]

        seconds = (70, 90) if signal.endswith("_kwh") and how == "lost" else (25, 60)
        return Fault(kind, signal, (signal, rf"\b{name}\b", "balance"), begin, end, seconds)

    return make


def _powers(_design: SiteDesign) -> tuple[str, ...]:
    return tuple(f"{name}_kw" for name in EQUIPMENT)


# Equipment


def _equipment(kind: str, manner: Manner, names: tuple[str, ...]) -> Make:
    def make(_design: SiteDesign, random: Random) -> Fault:
        name = random.choice(names)
        silent = [f"{name}_kw", f"{name}_soc_kwh" if name == BATTERY else f"{name}_energy_kwh"]

        def begin(rig: Rig) -> None:
            rig.plant.manner[name] = manner
            if manner is Manner.SILENT:
                rig.distortions |= {signal: _lost for signal in silent if signal in rig.design.signals}

        def end(rig: Rig) -> None:
            rig.plant.manner[name] = Manner.FOLLOWS
            for signal in silent:
                rig.distortions.pop(signal, None)

        return Fault(kind, name, (rf"\b{name}(_\w+)?\b", "not_followed"), begin, end)

    return make


# Operator


def _send(rig: Rig, payload: bytes, name: str = "dso") -> None:
    rig.send_upstream(topics.topic(rig.design.site, topics.ENVELOPE, name), payload, retain=True)


def _issue_again(rig: Rig) -> None:
    rig.operator.issues = rig.operator.heartbeat = True


def _wide(rig: Rig, **changes: object) -> bytes:
    """An envelope far beyond the connection."""
    wide = {"import_limit_kw": [50_000.0] * 8, "export_limit_kw": [50_000.0] * 8, "priority": 9}
    return rig.operator.envelope(rig.now_ms, **wide | changes)


def _envelope_expires(rig: Rig) -> None:
    rig.operator.heartbeat = False
    _send(rig, rig.operator.envelope(rig.now_ms + 1))
    rig.operator.issued_ms, rig.operator.issues = rig.now_ms, False


def _envelope_empty(rig: Rig) -> None:
    rig.operator.issues = False
    _send(rig, b"")


def _heartbeat_lost(rig: Rig) -> None:
    rig.operator.issues = False


def _flood(rig: Rig) -> None:
    for number in range(120):
        _send(rig, _wide(rig), f"flood_{number}")


def _end_flood(rig: Rig) -> None:
    for number in range(120):
        _send(rig, b"", f"flood_{number}")


def _giant(rig: Rig) -> None:
    rig.send_upstream(topics.topic(rig.design.site, topics.ENVELOPE, "giant"), b"0" * 1_900_000)
    rig.send_upstream(topics.topic(rig.design.site, topics.SERIES, "giant"), b"[" * 1_900_000)


def _upstream_down(rig: Rig) -> None:
    rig.upstream.kill()


def _upstream_up(rig: Rig) -> None:
    rig.upstream.start()
    rig.reconnect()


def _ripple_silent(rig: Rig) -> None:
    rig.distortions["ripple_position"] = _lost
    rig.operator.ripple_from_ms = rig.now_ms


def _ripple_unknown(rig: Rig) -> None:
    rig.position = 57.0
    rig.operator.ripple_from_ms = rig.now_ms - 10_000


def _ripple_back(rig: Rig) -> None:
    rig.distortions.pop("ripple_position", None)
    rig.position, rig.operator.ripple_from_ms = 100.0, None


def _simple(  # noqa: PLR0913, PLR0917  one line a kind
    kind: str, subject: str, says: tuple[str, ...], begin: Act, end: Act = _nothing, seconds: tuple[int, int] = (25, 60)
) -> Make:
    """A kind that is the same at every site."""
    return lambda _design, _random: Fault(kind, subject, says, begin, end, seconds)


# Switch and clock


def _switch_to(position: str | None) -> Act:
    def turn(rig: Rig) -> None:
        rig.turn(position)

    return turn


def _clock(kind: str, sign: int) -> Make:
    def make(_design: SiteDesign, random: Random) -> Fault:
        jump_ms = sign * round(1000 * 10 ** random.uniform(1.0, 9.2))  # 10 s to 50 years

        def begin(rig: Rig) -> None:
            rig.clock_offset_ms = jump_ms

        return Fault(kind, "clock", ("clock",), begin, _true_time)

    return make


def _true_time(rig: Rig) -> None:
    rig.clock_offset_ms = 0


def _boot_in_1970(rig: Rig) -> None:
    rig.kill_agent()
    rig.clock_offset_ms = -rig.now_ms + 30_000
    rig.restart_agent(alone_s=8)


# State


def _state(change: Callable[[Rig], None], *, again: bool) -> Act:
    """Change the state file under the running agent, let it run on, cut its power, and start it with a changed file."""

    def begin(rig: Rig) -> None:
        change(rig)
        for _ in range(12):
            rig.second()
        rig.note_status()
        rig.kill_agent()
        if again and rig.state_file.exists():
            rig.state_file.with_name(rig.state_file.name + "-wal").unlink(missing_ok=True)  # it would heal the file
            change(rig)
        rig.restart_agent(alone_s=5)

    return begin


def _damage(rig: Rig) -> None:
    with rig.state_file.open("r+b") as file:
        size = rig.state_file.stat().st_size
        for page in {0, *(rig.random.randrange(max(size // 4096, 1)) for _ in range(4))}:
            file.seek(4096 * page)
            file.write(rig.random.randbytes(400))


def _truncate(rig: Rig) -> None:
    with rig.state_file.open("r+b") as file:
        file.truncate(rig.state_file.stat().st_size // 2)


def _delete_state(rig: Rig) -> None:
    for path in rig.state.glob("agent.sqlite3*"):
        path.unlink()


def _older_copy(rig: Rig) -> None:
    """The card of half a minute ago, while the center has had messages since then."""
    rig.kill_agent()
    files = {path: path.read_bytes() for path in rig.state.glob("agent.sqlite3*")}
    rig.restart_agent(alone_s=2)
    for _ in range(30):
        rig.second()
    rig.note_status()
    rig.send_receipt_of_all()
    rig.kill_agent()
    _delete_state(rig)
    for path, content in files.items():
        path.write_bytes(content)
    rig.restart_agent(alone_s=5)


def _disk_full(rig: Rig) -> None:
    rig.limit_files(4096)


def _disk_free(rig: Rig) -> None:
    rig.limit_files(None)


# Model store and planner


def _store_folder(rig: Rig) -> None:
    """Folders where the store has its files, while a release arrives that it must note."""
    for name in _FOLDERS:
        (rig.state / name).mkdir(parents=True, exist_ok=True)
    _fetch(rig, "endless")


def _store_clean(rig: Rig) -> None:
    for name in _FOLDERS:
        shutil.rmtree(rig.state / name, ignore_errors=True)


def _store_bad_file(rig: Rig) -> None:
    (rig.state / "slots").mkdir(parents=True, exist_ok=True)
    (rig.state / "slots" / "junk.onnx").write_bytes(rig.random.randbytes(2000))
    (rig.state / "models.json").write_bytes(b'{"active": {"load_kw": {"rel\xff')
    rig.kill_agent()
    rig.restart_agent(alone_s=5)


def _hostile(how: str) -> Act:
    return lambda rig: _fetch(rig, how)


def _fetch(rig: Rig, how: str) -> None:
    """A hostile release, and a start, which looks for models at once: an announcement may wait a minute of real time."""
    rig.publish_model(how)
    rig.kill_agent()
    rig.restart_agent(alone_s=3)
    before = rig.status.get("reason", "")
    for _ in range(LOOKS):
        for _ in range(5):
            rig.second()
        reason = rig.fresh_status().get("reason", "")
        if reason != before and _MODEL.search(reason):
            return


def _planner(number: Signals) -> Act:
    def begin(rig: Rig) -> None:
        rig.signal_planner(number)

    return begin


# Processes


def _agent_killed(rig: Rig) -> None:
    rig.kill_agent()
    rig.restart_agent(alone_s=rig.random.randint(3, 25))


def _local_broker_killed(rig: Rig) -> None:
    rig.local.kill()
    rig.fresh_status()
    for _ in range(rig.random.randint(5, 40)):
        rig.second_alone()
    rig.local.start()
    rig.reconnect()


def _forged_receipt(rig: Rig) -> None:
    rig.send_receipt([(0, 2**61)])


def _second_agent(rig: Rig) -> None:
    rig.start_second_agent()


def _end_second_agent(rig: Rig) -> None:
    rig.end_second_agent()


def _watchdog_missing(rig: Rig) -> None:
    rig.notified.close()
    rig.notify_path.unlink(missing_ok=True)


def _watchdog_back(rig: Rig) -> None:
    rig.listen_again()


def _soc(_design: SiteDesign) -> tuple[str, ...]:
    return ("battery_soc_kwh",)


def _connected(_design: SiteDesign) -> tuple[str, ...]:
    return tuple(f"{name}_energy_kwh" for name in CHARGERS)


def _meter(_design: SiteDesign) -> tuple[str, ...]:
    return ("pcc_kw",)


def _load(_design: SiteDesign) -> tuple[str, ...]:
    return ("load_kw",)


_REFUSED: Final = (r'answer/\w+ .*"accepted": ?false', "rejected .*envelope", "rejected older")
_MODEL_SAYS: Final = ("refused", "have the shape", "models_put_aside", "model_damaged")
_PLANNER_SAYS: Final = ("planner", "stage_failures plan")
_ANEW: Final = ("state_begun_anew", "code state_", "stage_failures state_file")

KINDS: Final[Mapping[str, Make]] = MappingProxyType(
    {f"meter_{how}": _sensor(f"meter_{how}", how, _meter) for how in _SENSOR}
    | {f"load_{how}": _sensor(f"load_{how}", how, _load) for how in _SENSOR}
    | {f"power_{how}": _sensor(f"power_{how}", how, _powers) for how in ("lost", "frozen")}
    | {f"soc_{how}": _sensor(f"soc_{how}", how, _soc) for how in ("lost", "frozen")}
    | {f"connected_{how}": _sensor(f"connected_{how}", how, _connected) for how in ("lost", "frozen")}
    | {
        "equipment_stays": _equipment("equipment_stays", Manner.STAYS, EQUIPMENT),
        "equipment_opposes": _equipment("equipment_opposes", Manner.OPPOSES, (BATTERY, PV, *CHARGERS)),
        "equipment_silent": _equipment("equipment_silent", Manner.SILENT, EQUIPMENT),
        "envelope_expires": _simple(
            "envelope_expires", "envelope", ("without.envelope",), _envelope_expires, _issue_again, (30, 60)
        ),
        "envelope_older": _simple(
            "envelope_older", "envelope", _REFUSED, lambda rig: _send(rig, _wide(rig, issued_at_ms=rig.now_ms - 3_000_000))
        ),
        "envelope_forged_wide": _simple(
            "envelope_forged_wide", "envelope", ("answer/forged",), lambda rig: _send(rig, _wide(rig), "forged")
        ),
        "envelope_empty": _simple("envelope_empty", "envelope", _REFUSED, _envelope_empty, _issue_again),
        "envelope_heartbeat_lost": _simple(
            "envelope_heartbeat_lost", "envelope", ("heartbeat", "operator_silent"), _heartbeat_lost, _issue_again
        ),
        "envelope_flood": _simple("envelope_flood", "envelope", (*_REFUSED, "too_many"), _flood, _end_flood),
        "giant_payload": _simple("giant_payload", "upstream", ("too_large", "too_big", "payload"), _giant),
        "upstream_down": _simple("upstream_down", "upstream", ("silent", "upstream"), _upstream_down, _upstream_up),
        "local_limit_silent": _simple("local_limit_silent", "ripple", ("ripple",), _ripple_silent, _ripple_back),
        "local_limit_unknown": _simple("local_limit_unknown", "ripple", ("ripple",), _ripple_unknown, _ripple_back),
        "switch_lost": _simple(
            "switch_lost", "switch", ("mode observe",), _switch_to(None), _switch_to("control"), (40, 60)
        ),
        "switch_observe": _simple(
            "switch_observe", "switch", ("mode observe",), _switch_to("observe"), _switch_to("control")
        ),
        "clock_back": _clock("clock_back", -1),
        "clock_forward": _clock("clock_forward", 1),
        "clock_1970_at_boot": _simple("clock_1970_at_boot", "clock", ("clock",), _boot_in_1970, _true_time),
        "state_damaged": _simple("state_damaged", "agent", _ANEW, _state(_damage, again=True)),
        "state_truncated": _simple("state_truncated", "agent", _ANEW, _state(_truncate, again=True)),
        "state_gone": _simple("state_gone", "agent", _ANEW, _state(_delete_state, again=False)),
        "state_older_copy": _simple("state_older_copy", "agent", _ANEW, _older_copy),
        "disk_full": _simple("disk_full", "disk", ("state_not_written", "disk_full", "disk"), _disk_full, _disk_free),
        "store_folder": _simple("store_folder", "agent", ("models.json", "slots", "store"), _store_folder, _store_clean),
        "store_bad_file": _simple("store_bad_file", "agent", ("model", "store"), _store_bad_file),
        "model_endless": _simple("model_endless", "model", _MODEL_SAYS, _hostile("endless")),
        "model_memory": _simple("model_memory", "model", _MODEL_SAYS, _hostile("memory")),
        "model_shape": _simple("model_shape", "model", _MODEL_SAYS, _hostile("shape")),
        "planner_killed": _simple("planner_killed", "planner", _PLANNER_SAYS, _planner(SIGKILL)),
        "planner_frozen": _simple("planner_frozen", "planner", _PLANNER_SAYS, _planner(SIGSTOP)),
        "agent_killed": _simple("agent_killed", "agent", ('online .*"online": ?false',), _agent_killed),
        "second_agent": _simple(
            "second_agent", "agent", ("second", "another agent", "instance"), _second_agent, _end_second_agent
        ),
        "local_broker_killed": _simple("local_broker_killed", "local", ("connection local",), _local_broker_killed),
        "watchdog_missing": _simple(
            "watchdog_missing", "watchdog", ("watchdog", "systemd"), _watchdog_missing, _watchdog_back
        ),
        "receipt_forged": _simple("receipt_forged", "receipt", ("receipt",), _forged_receipt),
    }
)
"""Every kind of fault; each seed draws from all of them."""

NEEDS_LOAD: Final = frozenset(f"load_{how}" for how in _SENSOR) | {"model_shape"}
"""Kinds that only a site with a measured load can have; without its history no model of the load ever runs."""
