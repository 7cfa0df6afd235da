"""The ``segopt`` command, and ``python -m segopt``."""

from segopt import interrupts


def main() -> None:
    """Run the command line, from its first import on safe from interrupts."""
    try:
        interrupts.watch()
        from segopt.cli import main as command
    except KeyboardInterrupt as error:
        import os
        import sys

        print("segopt: interrupted", file=sys.stderr, flush=True)
        os._exit(interrupts.exit_status(error))
    command()


if __name__ == "__main__":
    main()
