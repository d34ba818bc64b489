"""Problems of a small site."""

from collections.abc import Callable
from typing import Any

import pytest

from ringmain_agent.planning.dispatch import DispatchProblem
from support.one_battery import small_site
from support.sites import problem_of


@pytest.fixture
def problem() -> Callable[..., DispatchProblem]:
    """5 kW of load at 0.2 a kWh, the battery empty; a test changes what it is about."""
    usual: dict[str, Any] = {"load_kw": 5.0, "pv_kw": 0.0, "import_price_per_kwh": 0.2, "soc_kwh": {"battery": 0.0}}
    return lambda **changes: problem_of(small_site(), **usual | changes)
