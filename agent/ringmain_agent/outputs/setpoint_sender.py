"""Sender of setpoints: it sends new and due ones, and checks the response of the equipment."""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from ringmain_agent.config.output import Output
from ringmain_agent.equipment.registry import kind_of
from ringmain_agent.outputs.setpoint_payload import WrittenSetpoint, is_following, setpoint_payload, written_power
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import Measured

Publish = Callable[[str, bytes], bool]
REMEMBERED: Final = 1000


class CycleSetpoints(NamedTuple):
    """Setpoints of one cycle and their reason; `None` releases the equipment, or leaves its position unchanged."""

    power_kw: Mapping[str, float | None]
    positions: Mapping[str, int | None]
    fallback: str
    reason: str


class SetpointSender:
    """Sends setpoints that have changed or must be repeated, only when called.

    * Sequences always rise, also over restarts if `last_sequence` is restored.
    * A setpoint is compared as it is written: powers that are equal after rounding go out once per `repeat_s`.
    * A setpoint counts as sent once `publish` has accepted it, and is in force for `valid_for_s`.
    """

    def __init__(self, outputs: Mapping[str, Output], site: Site, *, last_sequence: int) -> None:
        """No setpoint so far."""
        self.not_followed: list[str] = []
        self.last_sequence = last_sequence
        self._outputs = dict(outputs)
        self._sent: dict[str, deque[WrittenSetpoint]] = {}
        self._sent_ms: dict[str, int] = {}
        self._due: set[str] = set()
        self._tolerances = {e.name: kind_of(e).response(e) for e in site.equipment}
        self._signals = {switched.name: switched.position_signal for switched in site.switched}

    def send(self, setpoints: CycleSetpoints, newest: Mapping[str, Measured], *, now_ms: int, publish: Publish) -> int:
        """Publish setpoints that `limits` has passed; returns the number of sent messages."""
        count = 0
        self.next_sequence(now_ms)
        self.not_followed = [name for name in self._outputs if not self._follows(name, newest, now_ms)]
        for name, output in self._outputs.items():
            power_kw, position = setpoints.power_kw.get(name), setpoints.positions.get(name)
            if name in self._signals and position is None:
                continue
            value = power_kw if position is None else position
            sent = self._sent.setdefault(name, deque(maxlen=REMEMBERED))
            if sent and sent[-1].since_ms > now_ms:  # the clock was set back
                sent.clear()
            is_unchanged = bool(sent) and _is_equal(sent[-1].value, value, output)
            if (
                is_unchanged
                and name not in self._due
                and name in self._sent_ms
                and 0 <= now_ms - self._sent_ms[name] < 1000 * output.repeat_s
            ):
                continue
            payload = setpoint_payload(
                output,
                power_kw,
                position=position,
                sequence=self.last_sequence,
                now_ms=now_ms,
                fallback=setpoints.fallback,
                reason=setpoints.reason,
            )
            if publish(output.topic, payload):
                count += 1
                self._due.discard(name)
                self._sent_ms[name] = now_ms
                if not is_unchanged:
                    sent.append(WrittenSetpoint(value, now_ms))
        return count

    def next_sequence(self, now_ms: int) -> int:
        """A sequence above all before."""
        self.last_sequence = max(self.last_sequence + 1, now_ms)
        return self.last_sequence

    def repeat_all(self) -> None:
        """Send every setpoint in the next cycle, changed or not: after a reconnect the equipment may have lost it."""
        self._due.update(self._outputs)

    def move_clock(self, moved_ms: int) -> None:
        """The wall clock was set: sent setpoints keep their ages."""
        self._sent_ms = {name: at_ms + moved_ms for name, at_ms in self._sent_ms.items()}
        for name, sent in self._sent.items():
            moved = (WrittenSetpoint(written.value, written.since_ms + moved_ms) for written in sent)
            self._sent[name] = deque(moved, maxlen=REMEMBERED)

    def in_force_kw(self, now_ms: int) -> dict[str, float | None]:
        """Last accepted power of each equipment, as long as it is valid there; `None` released it."""
        return {
            name: sent[-1].value
            for name, sent in self._sent.items()
            if sent and name not in self._signals and self._is_valid(name, now_ms)
        }

    def forget(self) -> None:
        """Forget the sent setpoints: none is in force in observe, and a return to control sends all at once."""
        self._sent.clear()
        self._sent_ms.clear()
        self.not_followed = []

    def _is_valid(self, name: str, now_ms: int) -> bool:
        return 0 <= now_ms - self._sent_ms.get(name, now_ms + 1) <= 1000 * self._outputs[name].valid_for_s

    def _follows(self, name: str, newest: Mapping[str, Measured], now_ms: int) -> bool:
        output = self._outputs[name]
        measured = newest.get(output.confirmed_by or self._signals.get(name, f"{name}_kw"))
        return is_following(tuple(self._sent.get(name, ())), measured, output, self._tolerances[name], now_ms=now_ms)


def _is_equal(before: float | None, after: float | None, output: Output) -> bool:
    if before is None or after is None:
        return before is after
    return written_power(output, before) == written_power(output, after)
