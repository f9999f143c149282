"""What `ray job submit` runs: thin entry points over the commands, and their TOML files."""
