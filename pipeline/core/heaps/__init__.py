"""What mining keeps.

Each map's peak in a picture, the heaps of the strongest, and, in reduced precision, the proof
that no winner is missing.
"""
