"""The model file: open it, run it, verify it.

The bytes of a file come in; a model that has proved itself leaves. Who publishes a file and who runs it ask the same
questions. Needs NumPy and ONNX Runtime only.
"""

__all__ = ["errors", "session", "verify"]
