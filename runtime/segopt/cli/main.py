"""The ``segopt`` command: its verbs, and how errors reach the person at the terminal."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
import threading
import warnings
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Annotated, Any

import typer

from segopt import interrupts
from segopt.cli.help import Program, Verb
from segopt.errors import PlanWarning, SegoptError, SlotsWarning, UsageError, printable
from segopt.native_library import missing_library
from segopt.version import __version__

VERBS = ("export", "wrap", "build", "run", "label", "triton", "recover", "info", "eval", "bench", "doctor", "demo")
"""Each is a function in the module of ``segopt.cli`` that has its name."""

# typer carries its own copy of click from 0.26 on, so click's base classes are reached through typer.
_CommandLineError: Any = typer.BadParameter.__mro__[2]


# The second is what a thread for which there is no memory ends in.
_NO_MEMORY = (errno.ENOMEM, errno.EAGAIN)


_COMPLETION = "_SEGOPT_COMPLETE"
"""The variable by which a shell's completion speaks with the command."""


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"segopt {__version__}")
        raise typer.Exit


def make_app(verbs: Iterable[str] = VERBS) -> typer.Typer:
    """The command with these verbs."""
    app = typer.Typer(
        name="segopt",
        help="Run the segmentation network that you trained in PyTorch, without PyTorch: on Jetson, PC or CPU.",
        cls=Program,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    for verb in verbs:
        app.command(cls=Verb)(getattr(import_module(f"segopt.cli.{verb}"), verb))
    return app


def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; exit with 0, 1 (an error), 2 (wrong usage) or 128 and a signal's number, as 130."""
    try:
        interrupts.watch()
        status = _run()
    except KeyboardInterrupt as error:
        status = _say_interrupted(error)
    interrupts.ignore()
    if any(thread.name.startswith("segopt-") for thread in threading.enumerate()):
        # A read or an inference hangs. The libraries that it is in would wait for it, or crash under it.
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(status)
    sys.exit(status)


def _run() -> int:
    arguments = sys.argv[1:] or ["--help"]
    for stream in (sys.stdout, sys.stderr):
        # A file's name need not be text: what cannot be shown is written out.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    warnings.showwarning = _show_warning
    if _COMPLETION in os.environ:
        # Tab was pressed: the shell asks for what could come next.
        typer.main.get_command(make_app())(prog_name="segopt")
    try:
        # Not by calling the app, which would turn an interrupt into a mere status.
        command = typer.main.get_command(make_app(_needed(arguments)))
        with command.make_context("segopt", list(arguments)) as context:
            status = command.invoke(context)
    except typer.Exit as end:
        return end.exit_code
    except typer.Abort as error:
        return _say_interrupted(error)
    except UsageError as error:
        return _fail(str(error), 2)
    except SegoptError as error:
        return _fail(str(error), 1)
    except _CommandLineError as error:
        return _fail(_usage_message(error), 2)
    except BrokenPipeError:
        # The reader (`segopt info FILE | head`) has seen enough; keep Python from flushing into the void.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ImportError, OSError) as error:
        return _fail(missing_library(error) or _unforeseen(error), 1)
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException as error:
        # Not every panic of a compiled extension is an Exception.
        return _fail(_unforeseen(error), 1)
    return status if isinstance(status, int) else 0


def _show_warning(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    """A warning of segopt as one line; those of other packages are for their developers."""
    if issubclass(category, (PlanWarning, SlotsWarning)):
        print(f"segopt: warning: {message}", file=sys.stderr)


def _needed(arguments: Sequence[str]) -> tuple[str, ...]:
    """The verb that is asked for. Making the others as well would take 0.1 s of a run's start."""
    return tuple(arguments[:1]) if arguments[0] in VERBS else VERBS


def _usage_message(error: Any) -> str:
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "segopt"
    return f"{error.format_message().rstrip('.')}; see `{command} --help`"


def _unforeseen(error: BaseException) -> str:
    """One line for what nobody foresaw; the traceback is for those who ask for it."""
    if os.environ.get("SEGOPT_DEBUG", "") not in ("", "0"):
        raise error
    text = str(error).strip()
    if isinstance(error, MemoryError) or getattr(error, "errno", None) in _NO_MEMORY:
        text = "there is not enough memory, or a limit on it or on threads is reached (see `ulimit -a`)"
    elif isinstance(error, OSError) and error.strerror:
        if error.filename:
            return f"{os.fsdecode(error.filename)}: {error.strerror}; check the name and its permissions"
        text = error.strerror
    return f"{type(error).__name__}{': ' if text else ''}{text} (SEGOPT_DEBUG=1 shows where it came from)"


def _say_interrupted(error: BaseException) -> int:
    _print("segopt: interrupted")
    return interrupts.exit_status(error)


def _fail(message: str, status: int) -> int:
    # Names of files and other libraries' words may hold anything.
    _print(f"segopt: error: {printable(' '.join(message.split()))}")
    return status


def _print(line: str) -> None:
    # After a hang-up there is no terminal any more.
    with contextlib.suppress(OSError, ValueError):
        print(line, file=sys.stderr)
