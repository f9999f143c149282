"""How fast everything is, as ratios: the sections of the benchmark, and what runs them."""
