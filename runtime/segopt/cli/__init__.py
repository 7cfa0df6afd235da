"""The command line: a thin skin over the public API. Nothing imports it but the ``segopt`` script."""

from segopt.cli.main import main

__all__ = ["main"]
