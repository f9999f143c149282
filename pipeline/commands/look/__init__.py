"""Commands that look: at a run, at the nets there are, and at pictures before a run's net."""
