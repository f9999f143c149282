"""A net run on windows of its maps instead of whole ones.

What a step holds is a tensor (n, C, h, w): n windows of equal size, each at a place of its own.
Projecting computes what a position reads, occluding what a hidden place changes. They differ in
what surrounds the windows of a map: nothing there, here the maps of the image as it was.
"""
