"""The figure of one picture: what excites each layer most.

`items` are what is shown, an activation with its number and colour each; `bands` draw them, as
wide as they are told to be; `figure` is a page of the two bands, the poster has them too.
"""
