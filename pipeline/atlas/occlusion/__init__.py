"""The figure of an occlusion."""
