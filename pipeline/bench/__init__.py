"""How fast everything is, as ratios.

The sections of the benchmark, what runs them, and what prints them.
"""
