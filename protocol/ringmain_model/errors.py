"""The error of a model file, in its own module: it can be caught without NumPy and ONNX Runtime."""


class ModelRejectedError(Exception):
    """The model file must not be published and must not run: unreadable, or manifest, inputs or golden vectors are wrong."""
