"""The flat op graph: lowering, verification, costs, summaries."""
