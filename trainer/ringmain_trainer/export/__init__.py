"""From scikit-learn to ONNX.

A fitted model comes in, one file with the features inside leaves, proved equal to the model.
"""

__all__ = ["onnx_file", "skl2onnx_fix", "supported_estimators"]
