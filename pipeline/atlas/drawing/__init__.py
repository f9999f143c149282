"""What every figure is drawn with.

A page in millimetres on which each primitive says where the next thing goes, type whose room is
known before it is set, and the few colours that all figures share.
"""
