"""The experiments, from a request to tables and a figure in the run."""
