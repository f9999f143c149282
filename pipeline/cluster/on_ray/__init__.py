"""A Ray cluster, or a Ray of this machine alone; nobody else knows Ray."""
