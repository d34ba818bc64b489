"""The error of a model file. Stands alone, so that it can be caught where there is neither NumPy nor ONNX Runtime."""


class ModelRejectedError(Exception):
    """The model file must not be published and must not run: unreadable, or manifest, inputs or golden vectors are wrong."""
