"""From a position of a feature map back to pixels: the deconvnet, on whole images or on windows."""
