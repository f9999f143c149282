"""The poster of a run, one A0 page.

`choice` says which layers, feature maps and pictures it shows, `panels` draw what only a poster
has, and `page` puts them together with the bands of a picture and the diagram of the net.
"""
