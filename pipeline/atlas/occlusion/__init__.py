"""The figure of an occlusion: what hiding each place of a picture does to a net.

`maps` are an occlusion's maps as pictures, for the `figure` and for the poster's panel.
"""
