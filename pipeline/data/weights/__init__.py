"""The weights of a net, from whatever file they are in.

A new kind of file is a reader, and a line in `load`.
"""
