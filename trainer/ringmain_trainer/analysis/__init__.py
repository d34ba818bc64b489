"""Analysis for people.

The history comes in; unusual days and hours, kinds of days, and risks of limit violations leave, also as ONNX files.
"""

__all__ = ["analyse", "anomalies", "day_clusters"]
