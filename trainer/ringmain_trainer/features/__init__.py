"""From history to examples.

Step values and series come in, design matrices leave; the feature graph makes them here and at the edge.
"""

__all__ = ["design_matrix", "examples", "feature_graph", "feature_spec", "site_data"]
