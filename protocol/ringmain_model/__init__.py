"""The model file: open it, run it, verify it.

The bytes of a file come in; an open, verified model leaves. Publishing and running make the same checks. Needs NumPy and
ONNX Runtime only.
"""

__all__ = ["content", "errors", "session", "verify"]
