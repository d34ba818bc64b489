"""Setpoints on their way to equipment: the instant to send one, and the check that it is followed."""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from ringmain_agent.config.output import Output
from ringmain_agent.outputs.setpoint_payload import ResponseTolerance, WrittenSetpoint, is_following, setpoint_payload
from ringmain_agent.site.nameplates import ChargingStation, FlexibleLoad, ThermalLoad
from ringmain_agent.site.site import Site
from ringmain_protocol.steps import Reading

Publish = Callable[[str, bytes], bool]
TOLERANCE_PU: Final = 0.05
"""Of the rating: how far a measured power may be from its setpoint."""
HALF_A_POSITION: Final = 0.5
REMEMBERED: Final = 1000


class CycleSetpoints(NamedTuple):
    """Setpoints of one cycle and their reason; `None` releases the equipment, or leaves its position as it is."""

    power_kw: Mapping[str, float | None]
    positions: Mapping[str, int | None]
    fallback: str
    reason: str


class SetpointSender:
    """Sends setpoints that have changed or are due again; nothing is sent without a call.

    Sequences rise for ever, also over restarts when the last one is given back.
    """

    def __init__(self, outputs: Mapping[str, Output], site: Site, *, last_sequence: int) -> None:
        """Nothing sent yet."""
        self.not_followed: list[str] = []
        self.last_sequence = last_sequence
        self._outputs = dict(outputs)
        self._sent: dict[str, deque[WrittenSetpoint]] = {}
        self._sent_ms: dict[str, int] = {}
        self._tolerances = _tolerances(site)
        self._signals = {switched.name: switched.position_signal for switched in site.switched}

    def send(self, setpoints: CycleSetpoints, newest: Mapping[str, Reading], *, now_ms: int, publish: Publish) -> int:
        """Publish what `limits` has passed; returns how many messages went out."""
        count = 0
        self.last_sequence = max(self.last_sequence + 1, now_ms)
        self.not_followed = [name for name in self._outputs if not self._follows(name, newest, now_ms)]
        for name, output in self._outputs.items():
            power_kw, position = setpoints.power_kw.get(name), setpoints.positions.get(name)
            if name in self._signals and position is None:
                continue
            value = power_kw if position is None else position
            sent = self._sent.setdefault(name, deque(maxlen=REMEMBERED))
            if sent and sent[-1].since_ms > now_ms:  # the clock was set back
                sent.clear()
            same = bool(sent) and sent[-1].value == value
            if same and 0 <= now_ms - self._sent_ms[name] < 1000 * output.repeat_s:
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
                self._sent_ms[name] = now_ms
                if not same:
                    sent.append(WrittenSetpoint(value, now_ms))
        return count

    def forget(self) -> None:
        """In observe nothing is in force; when control returns, everything is sent at once."""
        self._sent.clear()
        self.not_followed = []

    def _follows(self, name: str, newest: Mapping[str, Reading], now_ms: int) -> bool:
        output = self._outputs[name]
        measured = newest.get(output.confirmed_by or self._signals.get(name, f"{name}_kw"))
        return is_following(tuple(self._sent.get(name, ())), measured, output, self._tolerances[name], now_ms=now_ms)


def _tolerances(site: Site) -> dict[str, ResponseTolerance]:
    """A plant may generate less than its bound; a vehicle or a thermostat may draw less than its setpoint."""
    tolerances = {b.name: ResponseTolerance(TOLERANCE_PU * max(b.charge_max_kw, b.discharge_max_kw)) for b in site.batteries}
    for plant in site.generators:
        tolerances[plant.name] = ResponseTolerance(TOLERANCE_PU * plant.rated_power_kw, more_is_fine=True)
    reducible: tuple[ChargingStation | FlexibleLoad | ThermalLoad, ...]
    reducible = (*site.charging_stations, *site.flexible_loads, *site.thermal_loads)
    for load in reducible:
        tolerances[load.name] = ResponseTolerance(TOLERANCE_PU * load.power_max_kw, less_is_fine=True)
    tolerances |= {load.name: ResponseTolerance(TOLERANCE_PU * load.power_kw) for load in site.on_off_loads}
    return tolerances | {switched.name: ResponseTolerance(HALF_A_POSITION) for switched in site.switched}
