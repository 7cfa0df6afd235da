"""A detector's network with few objects and with many."""
