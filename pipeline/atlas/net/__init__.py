"""The diagram of a net and its deconvnet."""
