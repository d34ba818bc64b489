"""Two faults of skl2onnx 1.20 with histogram boosting, mended in its converter.

(1) Leaves carry Python's False in a list of whole numbers, which protobuf 7 refuses; (2) thresholds are rounded to the
nearest float32, where scikit-learn compares a float32 value with the float64 threshold: they must be rounded down. Version
1.21 does both itself, so this stops with any other version, and a test says so.
"""

import inspect
from functools import cache
from typing import Any, Final

import numpy as np
import skl2onnx
from skl2onnx.common import tree_ensemble
from skl2onnx.operator_converters import random_forest

from ringmain_trainer.errors import ExportError

VERSION: Final = "1.20."
"""Versions with these faults begin like this."""

_FLAG: Final = "nodes_missing_value_tracks_true"


@cache
def install_converter_fix() -> None:
    """Mend the converter of this process, once.

    Raises:
        ExportError: If skl2onnx has another version, with which the fix was never tested.
    """
    if not skl2onnx.__version__.startswith(VERSION):
        text = f"skl2onnx {skl2onnx.__version__}: the fix of its converter is for {VERSION}x; install that version"
        raise ExportError(text)
    add_node = tree_ensemble.add_node
    add_tree = random_forest.add_tree_to_attribute_pairs_hist_gradient_boosting
    signature = inspect.signature(add_tree)

    def add_node_with_whole_number(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  passes on
        return add_node(*args, **{**kwargs, _FLAG: int(kwargs.get(_FLAG, 0))})

    def add_tree_with_thresholds_down(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  passes on
        call = signature.bind(*args, **kwargs)
        call.arguments["adjust_threshold_for_sklearn"] = call.arguments.get("dtype") == np.float32
        return add_tree(*call.args, **call.kwargs)

    tree_ensemble.add_node = add_node_with_whole_number
    random_forest.add_tree_to_attribute_pairs_hist_gradient_boosting = add_tree_with_thresholds_down
