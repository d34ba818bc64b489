"""Model files of the site: signed releases come in from the repository, verified ONNX files for the planner leave."""

__all__ = ["store"]
