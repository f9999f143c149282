"""The poster: what it shows of a run, its panels, and the page."""
