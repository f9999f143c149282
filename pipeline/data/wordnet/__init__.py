"""What ImageNet's classes have in common, after WordNet 3.0 (its licence lies beside)."""
