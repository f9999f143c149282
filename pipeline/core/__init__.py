"""The science: torch and numpy only, no Ray, no files, no configuration."""
