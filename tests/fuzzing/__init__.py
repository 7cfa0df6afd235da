"""Damaged inputs and signals at random, each case in a process that is watched. See ``__main__.py``."""
