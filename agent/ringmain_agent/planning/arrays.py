"""Types of the arrays in forecasts and dispatch; step values have the shape `(horizon_steps,)`."""

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.int32]
