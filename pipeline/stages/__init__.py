"""The stages of a run, each a plain function over one part of the work."""
