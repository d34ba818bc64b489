"""One output is the same to the bit, in one call, in blocks and one by one."""

from pathlib import Path

import numpy as np
import pytest

from ringmain_model.session import RUNTIME_ERRORS, Inputs, forecast, open_session, run, run_in_blocks, run_singly
from support.models import DAY, write_model


@pytest.mark.parametrize("count", [1, 16, 37])
def test_the_batch_size_changes_nothing(tmp_path: Path, count: int) -> None:
    session = open_session(write_model(tmp_path / "1.onnx").read_bytes())
    rng = np.random.default_rng(0)
    inputs: Inputs = {
        "history": rng.normal(size=(count, 8 * DAY, 2)).astype(np.float32),
        "known_future": rng.normal(size=(count, DAY, 2)).astype(np.float32),
        "issued_at_s": np.arange(count) * 900,
    }
    whole = forecast(session, inputs)
    assert whole.shape == (count, DAY, 3)
    for call in (run, run_in_blocks, run_singly):
        np.testing.assert_array_equal(call(session, inputs, "quantiles"), whole)


def test_what_onnx_runtime_refuses_is_one_of_its_errors(tmp_path: Path) -> None:
    session = open_session(write_model(tmp_path / "1.onnx").read_bytes())
    with pytest.raises(RUNTIME_ERRORS):
        run(session, {"history": np.zeros((1, 2), np.float32)}, "quantiles")
    with pytest.raises(RUNTIME_ERRORS):
        open_session(b"no model")
