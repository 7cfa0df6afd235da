"""What TensorRT says while it works, kept off the screen until it explains a failure."""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

from segopt.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import tensorrt as trt

    from segopt.tensorrt.flavor import Flavor
    from segopt.tensorrt.module import TensorRT

_Started = TypeVar("_Started")

_KEPT = 32
_LONGEST = 300

# Lines that only lead up to another one, or that repeat what a parser error says better.
_EMPTY_TALK = re.compile(
    r"^(ModelImporter\.cpp:\d+: )?(---|While parsing node|ERROR: \S+ In function)|^Thread context"
)
# Where a machine has no driver, RTX says so after every error, whatever it was.
_NO_DRIVER = re.compile(r"^\[checkMacros\.cpp::catchCudaError")
# "IBuilder::buildSerializedNetwork: Error Code 4: API Usage Error (what happened)", and before it the parser's
# "Invalid Node - NAME", which names the node a second time.
_WRAPPED = re.compile(r"^(?:Invalid Node - \S+ )?(?:\w+::\w+: )?Error Code \d+: [^(]*\((.*)\)$")
# Places in NVIDIA's sources, which tell a user nothing.
_PLACE = re.compile(r"\s+In \w+ at /?[\w./]+:\d+|(?<=\()In \w+ at /?[\w./]+:\d+ |\[\w+\.cpp:+\w+:+ ?\w+\] ")

_FIXES: tuple[tuple[str, str], ...] = (
    (
        r"insufficient for CUDA runtime|cudaError 35|failure with error: 35",
        "install a newer NVIDIA driver (`segopt doctor` shows the one that is here), or TensorRT for CUDA 12, "
        "tensorrt-cu12 or tensorrt-rtx-cu12, in place of this one",
    ),
    (r"for Turing \(SM75\)", "leave 7.5 out of --compute-capability"),
    (
        r"out of memory|OutOfMemory|bad_alloc|MEM_ALLOC|cudaError 2\b",
        "close what else uses the memory, or build with a smaller --workspace",
    ),
    (r"could not find any implementation", "give more --workspace, or update TensorRT"),
    (r"K exceeds the maximum", "export the model with fewer --candidates"),
)


class MessageLog:
    """The newest messages of one TensorRT."""

    def __init__(self) -> None:
        self.errors: deque[str] = deque(maxlen=_KEPT)

    def clear(self) -> None:
        """Forget what was said: a new job begins."""
        self.errors.clear()

    def log(self, severity: int, message: str) -> None:
        """Keep a message if it is an error.

        Args:
            severity: number of ``ILogger.Severity``: 0 internal error, 1 error, 2 warning, 3 info, 4 verbose.
            message: as TensorRT words it.
        """
        if severity <= 1 and not _EMPTY_TALK.match(message):
            self.errors.append(message)

    def reason(self) -> str:
        """The first error that explains a failure, as one line; where there is none, the words that say so."""
        errors = [error for error in self.errors if not _NO_DRIVER.match(error)] or list(self.errors)
        return one_line(errors[0]) if errors else "TensorRT does not say why"


def one_line(message: str) -> str:
    """A message of TensorRT without line breaks and places in its sources, cut to a readable length."""
    lines = [line for line in message.strip().splitlines() if not _NO_DRIVER.match(line)] or [message]
    text = _PLACE.sub("", " ".join(" ".join(lines).split()))
    if (wrapped := _WRAPPED.match(text)) is not None:
        text = wrapped[1]
    if text.startswith("(") and text.endswith(")"):
        text = text[1:-1]
    text = text.strip().rstrip(".")
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 4]} ..."


def fix_for(reason: str, default: str) -> str:
    """What to do about an error of TensorRT.

    Args:
        reason: its message.
        default: what to do where nothing better is known.
    """
    return next((fix for pattern, fix in _FIXES if re.search(pattern, reason, re.IGNORECASE)), default)


def message_log(flavor: Flavor) -> tuple[MessageLog, trt.ILogger]:
    """The log of a TensorRT, and the logger that writes to it.

    There is one for the whole process: TensorRT keeps using the first logger that it ever got, and warns of more.
    """
    if flavor.module not in _LOGS:
        log = MessageLog()
        _LOGS[flavor.module] = (log, _logger(flavor.module, log))
    return _LOGS[flavor.module]


def start(flavor: Flavor, make: Callable[[trt.ILogger], _Started], *, model: Path | None = None) -> _Started:
    """What ``make`` makes with TensorRT's logger: a builder or a runtime, the first that anybody asks of TensorRT.

    Raises:
        EngineError: TensorRT does not start: no GPU where it needs one, a driver that is too old. The message
            begins with ``model``, where one is given.
    """
    log, logger = message_log(flavor)
    log.clear()
    try:
        return make(logger)
    except (TypeError, RuntimeError) as error:  # pybind11's answer to a null pointer is a TypeError.
        reason = log.reason() if log.errors else one_line(str(error))
        fix = fix_for(reason, "`segopt doctor` shows what this machine has")
        prefix = "" if model is None else f"{model}: "
        raise EngineError(f"{prefix}{flavor} does not start: {reason}; {fix}") from None


_LOGS: WeakKeyDictionary[TensorRT, tuple[MessageLog, trt.ILogger]] = WeakKeyDictionary()


def _logger(module: TensorRT, kept: MessageLog) -> trt.ILogger:
    base: Any = module.ILogger

    class Logger(base):  # type: ignore[misc]
        def __init__(self) -> None:
            base.__init__(self)  # pybind11 wants its own base, not super().

        def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
            kept.log(int(severity), msg)

    logger: trt.ILogger = Logger()
    return logger
