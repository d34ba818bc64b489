"""Setpoints go out when they have changed or are due again, with a sequence that rises for ever."""

import json
from typing import Any

import pytest

from ringmain_agent.config.output import Output
from ringmain_agent.outputs.setpoint_sender import CycleSetpoints, SetpointSender
from ringmain_agent.site.nameplates import CapacitorBank
from ringmain_agent.snapshot import Measured
from support.sites import NOW_MS, battery, station

SITE = station(batteries=(battery(),), capacitor_banks=(CapacitorBank(name="bank", step_kvar=50.0, steps=3),))
OUTPUTS = {
    "battery": Output(topic="battery/setpoint", valid_for_s=60, repeat_s=10),
    "bank": Output(topic="bank/setpoint", valid_for_s=60, repeat_s=10),
}


class Sent:
    """What has arrived at the equipment."""

    def __init__(self) -> None:
        self.sender = SetpointSender(OUTPUTS, SITE, last_sequence=0)
        self.arrived: list[tuple[str, dict[str, Any]]] = []
        self.connected = True

    def send(
        self, power_kw: float | None, *, after_s: float = 0.0, position: int | None = None, measured_kw: float | None = None
    ) -> int:
        """A cycle."""
        now_ms = NOW_MS + round(1000 * after_s)
        newest = {} if measured_kw is None else {"battery_kw": Measured(measured_kw, now_ms)}
        setpoints = CycleSetpoints({"battery": power_kw}, {"bank": position}, "optimal", "")
        return self.sender.send(setpoints, newest, now_ms=now_ms, publish=self._publish)

    def _publish(self, topic: str, payload: bytes) -> bool:
        if self.connected:
            self.arrived.append((topic, json.loads(payload)))
        return self.connected


@pytest.fixture
def sent() -> Sent:
    return Sent()


def test_setpoint_goes_out_when_it_changes_and_when_it_is_due_again(sent: Sent) -> None:
    cycles = [(5.0, 0.0), (5.0, 9.9), (5.0, 10.0), (6.0, 10.1), (None, 10.2), (None, 12.0)]
    assert [sent.send(power_kw, after_s=after_s) for power_kw, after_s in cycles] == [1, 0, 1, 1, 1, 0]


def test_sequence_rises_also_where_the_clock_is_set_back(sent: Sent) -> None:
    for power_kw, after_s in ((1.0, 0.0), (2.0, -3600.0), (3.0, -3599.0)):
        assert sent.send(power_kw, after_s=after_s) == 1
    sequences = [payload["sequence"] for _, payload in sent.arrived]
    assert sequences == sorted(set(sequences))
    assert sent.sender.last_sequence == sequences[-1]


def test_setpoint_that_did_not_go_out_goes_in_the_next_cycle(sent: Sent) -> None:
    sent.connected = False
    assert sent.send(5.0) == 0
    sent.connected = True
    assert sent.send(5.0, after_s=1.0) == 1


@pytest.mark.parametrize(("other_kw", "sent_again"), [(5.0 + 1e-9, 0), (4.9999996, 0), (5.000001, 1), (None, 1)])
def test_setpoints_are_compared_as_they_are_written(sent: Sent, other_kw: float | None, sent_again: int) -> None:
    """A float that differs in its last digits is no new setpoint: it goes out once per `repeat_s`."""
    assert [sent.send(5.0), sent.send(other_kw, after_s=1.0)] == [1, sent_again]
    assert sent.send(other_kw, after_s=11.0) == 1


def test_only_accepted_setpoints_are_in_force_and_only_while_they_are_valid(sent: Sent) -> None:
    sent.send(5.0)
    sent.connected = False
    sent.send(9.0, after_s=30.0)
    assert sent.sender.in_force_kw(NOW_MS + 30_000) == {"battery": 5.0}
    assert sent.sender.in_force_kw(NOW_MS + 60_001) == {}
    sent.connected = True
    sent.send(None, after_s=61.0, position=2)
    assert sent.sender.in_force_kw(NOW_MS + 61_000) == {"battery": None}


def test_every_setpoint_goes_out_again_once_after_a_reconnect(sent: Sent) -> None:
    sent.send(5.0, position=2)
    sent.sender.repeat_all()
    sent.connected = False
    assert sent.send(5.0, position=2, after_s=1.0) == 0
    sent.connected = True
    assert [sent.send(5.0, position=2, after_s=after_s) for after_s in (2.0, 3.0)] == [2, 0]


def test_position_is_sent_and_without_one_stays_as_it_is(sent: Sent) -> None:
    assert [sent.send(5.0, position=position) for position in (2, 2, None, 3)] == [2, 0, 0, 1]
    assert [payload["position"] for topic, payload in sent.arrived if topic == "bank/setpoint"] == [2, 3]


def test_equipment_that_stays_away_from_its_setpoint_is_named_until_control_ends(sent: Sent) -> None:
    for after_s in (0.0, 100.0, 1000.0):
        sent.send(50.0, after_s=after_s, measured_kw=0.0)
    assert sent.sender.not_followed == ["battery"]
    sent.sender.forget()
    assert sent.sender.not_followed == []
    assert sent.send(50.0, after_s=1000.1) == 1
