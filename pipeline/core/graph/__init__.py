"""A net as a graph of steps.

What each step is, which of them are layers, and what each place of a layer sees.
"""
