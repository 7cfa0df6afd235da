"""``python -m segopt`` is the ``segopt`` command."""

from segopt.cli import main

main()
