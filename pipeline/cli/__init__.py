"""The command line: options in, one command called, a few lines out."""
