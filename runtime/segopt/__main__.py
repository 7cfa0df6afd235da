"""The ``segopt`` command, and ``python -m segopt``."""

import os
import sys

from segopt import interrupts


def main() -> None:
    """Run the command line, from its first import on safe from interrupts."""
    try:
        interrupts.watch()
        _open_closed_streams()
        from segopt.cli import main as command
    except KeyboardInterrupt as error:
        print("segopt: interrupted", file=sys.stderr, flush=True)
        os._exit(interrupts.exit_status(error))
    command()


def _open_closed_streams() -> None:
    """Let standard streams that are closed lead nowhere. A file that is opened later would get their number."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


if __name__ == "__main__":
    main()
