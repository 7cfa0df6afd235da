"""Reads through a pickle without running it, and finds what would take time, memory or the process with it.

A pickle is a program. Nine bytes of one can ask for 17 GB (an index of the memo), a megabyte for hours (the same
list copied again and again), and another for a crash (tuples so deep in each other that a hash overflows the
stack). Neither Python's unpickler nor PyTorch's weights-only one has bounds, so a pickle is held against these
before.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from typing import IO, Any

MAX_STEPS = 1_000_000
"""A checkpoint of a detector with its optimizer has 150,000."""
MAX_DEPTH = 100
"""Of tuples in tuples; weights have 4."""

_MEMO_PUT = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})
_MEMO_GET = frozenset({"GET", "BINGET", "LONG_BINGET"})
_TUPLES = frozenset({"EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"})
_FILLED = frozenset({"APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS"})
_CALLS = frozenset({"REDUCE", "NEWOBJ", "NEWOBJ_EX", "BUILD", "OBJ", "INST"})
_FORBIDDEN = frozenset({"EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER"})
_MARK = pickletools.markobject


class HostileError(Exception):
    """A pickle that no program which saves weights writes; the text completes "the file ..."."""


class ForbiddenError(Exception):
    """A pickle that would call something other than what weights need; the text names it."""


def scan(file: IO[bytes], is_allowed: Callable[[str], bool] | None = None) -> None:
    """Read one pickle from where a file is, to its end.

    Args:
        file: buffered or mapped; sizes that a pickle claims are held against what is there.
        is_allowed: whether a global (``module.name``) may be in it; None leaves that to the unpickler.

    Raises:
        HostileError: the pickle has more steps than weights need, or claims memory without reason.
        ForbiddenError: it has a global that is not allowed.
        Exception: it is damaged; which one is up to :mod:`pickletools`.
    """
    machine = _Machine()
    for steps, (opcode, argument, position) in enumerate(pickletools.genops(file)):
        if steps > MAX_STEPS:
            raise HostileError(f"has more than {MAX_STEPS:,} values")
        if opcode.name == "GLOBAL" and is_allowed is not None:
            name = str(argument).replace(" ", ".")
            if not is_allowed(name):
                raise ForbiddenError(name)
        machine.step(opcode, argument, steps)
        # What a file holds is copied twice, from a text to bytes and into an array, and not more often than that.
        here = (position or 0) + (len(argument) if isinstance(argument, str | bytes) else 0)
        if machine.copied > MAX_STEPS + 3 * here:
            raise HostileError("copies the same values again and again")


class _Item:
    """A value of which only the size is known."""

    __slots__ = ("depth", "size")

    def __init__(self, size: int = 0, depth: int = 0) -> None:
        self.size = size
        """Entries, characters or bytes."""
        self.depth = depth
        """Of tuples in tuples."""


_PLAIN = _Item()


class _Machine:
    """The stack and the memo of an unpickler, with sizes in place of values."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.copied = 0
        """Entries and bytes that calls were given so far."""

    def step(self, opcode: pickletools.OpcodeInfo, argument: Any, steps: int) -> None:
        name = opcode.name
        if name in _MEMO_PUT:
            if not 0 <= int(argument) <= steps:
                raise HostileError(f"counts values up to {argument} and has {steps}")
            self.memo[int(argument)] = self.stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = self.stack[-1]
        elif name in _MEMO_GET:
            self.stack.append(self.memo[int(argument)])
        elif name == "MARK":
            self.stack.append(_MARK)
        elif name == "DUP":
            self.stack.append(self.stack[-1])
        elif name in _FORBIDDEN:
            raise HostileError(f"is a pickle with {name}")
        else:
            self._result(name, self._popped(opcode), opcode, argument)

    def _popped(self, opcode: pickletools.OpcodeInfo) -> list[Any]:
        count = len(opcode.stack_before)
        if _MARK not in opcode.stack_before:
            if len(self.stack) < count:
                raise ValueError("stack underflow")
            popped = self.stack[len(self.stack) - count :]
            del self.stack[len(self.stack) - count :]
            return popped
        above: list[Any] = []
        while (item := self.stack.pop()) is not _MARK:
            above.append(item)
        before = opcode.stack_before.index(_MARK)
        below = [self.stack.pop() for _ in range(before)]
        return below[::-1] + above[::-1]

    def _result(self, name: str, popped: list[Any], opcode: pickletools.OpcodeInfo, argument: Any) -> None:
        if name in _FILLED:
            target = popped[0]
            if target is not _PLAIN:
                target.size += len(popped) - 1
            self.stack.append(target)
        elif name in _TUPLES:
            depth = 1 + max((item.depth for item in popped), default=0)
            if depth > MAX_DEPTH:
                raise HostileError(f"has more than {MAX_DEPTH} tuples in each other")
            self.stack.append(_Item(len(popped) + sum(item.size for item in popped), depth))
        elif name in _CALLS:
            given = sum(item.size for item in popped[1:])
            self.copied += given
            self.stack.append(popped[0] if name == "BUILD" else _Item(given))
        elif opcode.stack_after:
            sized = isinstance(argument, str | bytes | bytearray)
            fresh = sized or popped or name.startswith("EMPTY")
            self.stack.append(_Item(len(argument) if sized else len(popped)) if fresh else _PLAIN)
