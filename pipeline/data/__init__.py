"""Where pictures come from and where results go."""
