"""What the pages of an atlas know: scripts that say it, each read when it is needed.

They are scripts, not JSON, since a page opened from a disk may load a script but not fetch a file.
The index holds what the first view needs, some hundred bytes a layer; nothing in it grows with the
feature maps. All are ASCII, whatever encoding a server declares. Columns stand beside each other
(``active[m]``, ``max[m]``, … for map m): a third of the bytes of a list of objects.
"""
