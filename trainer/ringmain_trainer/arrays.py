"""The trainer's arrays by type, and the largest number that a model file can hold."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
"""Step values, features and inputs of model files."""
Values = NDArray[np.float64]
"""Forecasts, targets and losses."""

FLOAT32_MAX: Final = float(np.finfo(np.float32).max)
