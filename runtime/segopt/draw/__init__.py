"""Results in color on frames."""
