"""A page that shows what a run does, in any browser."""
