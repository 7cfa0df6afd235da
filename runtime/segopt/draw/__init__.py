"""Results in colour on frames."""
