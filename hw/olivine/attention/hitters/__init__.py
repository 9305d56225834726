"""Heavy hitters: exact sums of probabilities, and which keys are dropped."""
