"""From history to examples.

Step values and series come in, design matrices leave; the feature graph makes them here and at the edge.
"""

__all__ = ["dataset", "design_matrix", "feature_graph"]
