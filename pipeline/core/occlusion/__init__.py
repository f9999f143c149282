"""What hiding a place of a picture does to a net, computed only where it changes something."""
