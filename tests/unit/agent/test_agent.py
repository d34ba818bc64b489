"""One cycle of a whole agent, without brokers: its stages work on one process image."""

import sys
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from types import FrameType

import msgspec
import pytest

from ringmain_agent.agent import Agent
from ringmain_agent.config.agent import load_config
from ringmain_agent.gateway.clock import Cycle
from ringmain_agent.gateway.inbox import Arrived
from ringmain_agent.inputs.process_image import ProcessImage
from ringmain_agent.inputs.trusted_time import EARLIEST_MS
from ringmain_agent.models.fetch_messages import SLOTS, Slot
from ringmain_agent.models.store import STATE_NAME, StoreState
from ringmain_protocol.messages import ReasonCode
from support.hostile_models import endless
from support.models import write_model

CONFIG = """
site = "site-1"
time_zone = "Europe/Amsterdam"
state_folder = "state"
mode = "observe"
[mqtt.local]
host = "127.0.0.1"
[mqtt.upstream]
host = "127.0.0.1"
[grid_connection]
import_limit_kw = 100
export_limit_kw = 100
[tariff]
import_price_per_kwh = 0.2
[feeds.load_kw]
topic = "plant/load"
unit = "kW"
[feeds.battery_kw]
topic = "plant/battery"
unit = "kW"
[feeds.battery_soc_kwh]
topic = "plant/soc"
unit = "kWh"
[battery.battery]
capacity_kwh = 100
charge_max_kw = 50
discharge_max_kw = 50
[battery.battery.output]
topic = "plant/setpoint"
valid_for_s = 5
repeat_s = 1
"""


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    path = tmp_path / "agent.toml"
    path.write_text(CONFIG, encoding="utf-8")
    one = Agent(load_config(path), simulated=False)
    yield one
    one.close()


def test_process_image_is_taken_once_a_cycle(agent: Agent, now_ms: int) -> None:
    """Plan, regulator, limits and status of a cycle cannot differ in what they know."""
    taken = 0

    def count(frame: FrameType, event: str, _: object) -> None:
        nonlocal taken
        taken += event == "call" and frame.f_code in {ProcessImage.take.__code__, ProcessImage._read.__code__}  # noqa: SLF001

    sys.setprofile(count)
    try:
        agent.cycle(Cycle(now_ms=now_ms, now_s=0.0, arrived=[Arrived("plant/load", b"60", retained=False, received_s=0.0)]))
    finally:
        sys.setprofile(None)
    assert taken == 2  # `take`, and what it reads
    assert agent.snapshot().issued_at_ms == now_ms


def test_model_that_hangs_the_planner_is_gone_after_the_second_time_and_plans_go_on(tmp_path: Path, now_ms: int) -> None:
    """Each plan waited for its time limit, for ever; now the third is made without the model, and the status says why."""
    at_s = now_ms // 1000 + 86_400
    content = endless(write_model(tmp_path / "1.onnx", manifest={"history_share_min": 0.0}).read_bytes(), at_s)
    slot = Slot(release=3, sha256=sha256(content).hexdigest())
    (tmp_path / "state" / SLOTS).mkdir(parents=True)
    (tmp_path / "state" / SLOTS / slot.sha256).write_bytes(content)
    (tmp_path / "state" / STATE_NAME).write_bytes(msgspec.json.encode(StoreState(active={"load_kw": slot})))
    (tmp_path / "agent.toml").write_text("planner_timeout_s = 1.0\n" + CONFIG, encoding="utf-8")
    agent = Agent(load_config(tmp_path / "agent.toml"), simulated=False)
    end_s, cycle = time.monotonic() + 60, 0
    while agent._planner.newest() is None:  # noqa: SLF001  no broker to read it from
        assert time.monotonic() < end_s
        agent.cycle(Cycle(now_ms=1000 * at_s + cycle, now_s=float(cycle), arrived=[]))
        cycle += 1
        time.sleep(0.01)
    state = agent._exchange._program_state()  # noqa: SLF001
    assert agent._planner.restarts == 2  # noqa: SLF001
    assert agent._control_state().stage_failures == {"plan": 2}  # noqa: SLF001
    assert list(state.models_put_aside) == ["load_kw"]
    assert [reason.code for reason in state.reasons] == [ReasonCode.MODEL_PUT_ASIDE]
    assert agent.snapshot().models == {}
    agent.close()


def test_cycle_whose_message_plan_and_reports_all_fail_still_controls(tmp_path: Path, now_ms: int) -> None:
    """Broken: the disk's file, the planner's program, and a message that no decoder can take."""
    path = tmp_path / "agent.toml"
    path.write_text(CONFIG, encoding="utf-8")
    agent = Agent(load_config(path), simulated=False)
    agent._planner._command = (str(tmp_path / "gone"),)  # noqa: SLF001  deleted by an update
    agent.cycle(Cycle(now_ms=now_ms, now_s=0.0, arrived=[Arrived("plant/load", b"60", retained=False, received_s=0.0)]))
    agent._state.close()  # noqa: SLF001
    unusable = Arrived("plant/load", 60, retained=False, received_s=0.0)  # type: ignore[arg-type]
    for second in range(1, 4):
        agent.cycle(Cycle(now_ms=now_ms + 1000 * second, now_s=float(second), arrived=[unusable]))
    status = agent._control_state()  # noqa: SLF001
    assert status.measurements.now_ms == now_ms + 3000
    assert "control" not in status.stage_failures
    assert agent._exchange._rejected.counts == {"internal_error": 3}  # noqa: SLF001
    assert status.stage_failures["plan"] >= 1
    agent.close()


def test_a_clock_that_jumps_is_named_and_ages_nothing(agent: Agent, now_ms: int) -> None:
    """A day forward, and back: the load that was heard a second ago is as old as that."""
    heard = [Arrived("plant/load", b"60", retained=False, received_s=0.0)]
    agent.cycle(Cycle(now_ms=now_ms, now_s=0.0, arrived=heard, synchronized=True))
    agent.cycle(Cycle(now_ms=now_ms + 86_401_000, now_s=1.0, arrived=[], synchronized=False))
    jumped = agent._control_state()  # noqa: SLF001
    assert jumped.measurements.fresh("load_kw") == 60.0
    assert not jumped.measurements.clock_trusted
    assert {ReasonCode.CLOCK_DOUBT, ReasonCode.CLOCK_SET} <= {reason.code for reason in jumped.reasons}
    agent.cycle(Cycle(now_ms=now_ms + 299_000, now_s=299.0, arrived=[], synchronized=True))
    back = agent._control_state()  # noqa: SLF001
    assert back.measurements.fresh("load_kw") == 60.0
    assert back.measurements.clock_trusted == (now_ms >= EARLIEST_MS)
    agent.cycle(Cycle(now_ms=now_ms + 302_000, now_s=302.0, arrived=[], synchronized=True))
    assert agent._control_state().measurements.fresh("load_kw") is None  # noqa: SLF001


def test_a_feed_may_have_its_own_time_to_be_stale_and_a_sender_whose_clock_is_off_is_named(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    own = '[feeds.battery_soc_kwh]\nstale_after_s = 900.0\nformat = "json"\nvalue_path = "soc"\ntime_path = "at"'
    path.write_text(CONFIG.replace("[feeds.battery_soc_kwh]", own), encoding="utf-8")
    agent, now_ms = Agent(load_config(path), simulated=False), EARLIEST_MS + 86_400_000
    ahead = b'{"soc": 70, "at": %d}' % (now_ms + 90_000)
    arrived = [
        Arrived(topic, payload, retained=False, received_s=0.0)
        for topic, payload in (("plant/soc", ahead), ("plant/load", b"60"))
    ]
    agent.cycle(Cycle(now_ms=now_ms, now_s=0.0, arrived=arrived))
    agent.cycle(Cycle(now_ms=now_ms + 600_000, now_s=600.0, arrived=[]))
    state = agent._control_state()  # noqa: SLF001
    assert state.measurements.fresh("battery_soc_kwh") == 70.0
    assert state.measurements.fresh("load_kw") is None
    texts = [reason.text for reason in state.reasons if reason.code is ReasonCode.SENDER_CLOCK]
    assert texts == ["battery_soc_kwh: its sender's clock is 90 s ahead; set it"]
    agent.close()
