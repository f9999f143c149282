"""Between the stages: the heaps of all parts become the winners and the feature maps' table."""
