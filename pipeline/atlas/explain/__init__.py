"""The figure of one picture: what excites each layer most."""
