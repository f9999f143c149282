"""The diagram of a net and its deconvnet.

`columns` says in a few columns what a traced net does on the way up and its deconvnet on the way
down; `diagram` draws them, into the poster.
"""
