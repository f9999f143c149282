"""The experiments: what is asked of a run beyond its winners, unit by unit."""
