"""A failure stays in its stage: said once, counted, and named until the stage works again."""

import logging

import pytest

from ringmain_agent.snapshot import Reason
from ringmain_agent.stages import ERROR_MAX, Stage, Stages
from ringmain_protocol.messages import ReasonCode


def test_failure_stays_in_its_stage_and_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    stages = Stages()
    for number in range(3):
        with stages.guard(Stage.PLAN):
            raise OSError(12, f"no memory {number}")
    assert stages.failures == {"plan": 3}
    assert stages.reasons == [Reason(ReasonCode.STAGE_FAILED, "plan failed: OSError: [Errno 12] no memory 2", "plan")]
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_another_error_is_said_again_and_so_is_one_that_comes_back(caplog: pytest.LogCaptureFixture) -> None:
    stages = Stages()
    for error in (OSError("a"), MemoryError("b"), None, MemoryError("c")):
        with stages.guard(Stage.CONTROL):
            if error is not None:
                raise error
    assert len(caplog.records) == 3


def test_reason_ends_with_the_first_run_that_works() -> None:
    stages = Stages()
    with stages.guard(Stage.INPUTS, "feeds"):
        raise ValueError("x" * 10_000)
    with stages.guard(Stage.INPUTS, "image"):
        pass
    (reason,) = stages.reasons
    assert reason.about == "feeds"
    assert reason.text == "inputs failed at feeds: " + ("ValueError: " + "x" * 10_000)[:ERROR_MAX]
    with stages.guard(Stage.INPUTS, "feeds"):
        pass
    assert stages.reasons == []
    assert stages.failures == {"inputs": 1}


def test_a_signal_to_stop_is_no_failure() -> None:
    with pytest.raises(KeyboardInterrupt), Stages().guard(Stage.INPUTS):
        raise KeyboardInterrupt
