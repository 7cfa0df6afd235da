"""Reads mmdetection's configurations: Python source, of which the plain values are read and nothing is run.

A checkpoint holds the configuration that it was trained by as text. Any text may come in a file, so it is neither
compiled nor given to :mod:`ast`, which a long expression can crash.
"""

from __future__ import annotations

import ast
import tokenize
from collections.abc import Iterator
from io import StringIO
from typing import Any

MAX_LENGTH = 1 << 17
"""Characters; a configuration has some 10,000. More would take seconds to read."""
_MAX_DEPTH = 40
_SKIPPED = (tokenize.NL, tokenize.COMMENT, tokenize.INDENT, tokenize.DEDENT)
_CONSTANTS = {"True": True, "False": False, "None": None}
_CLOSING = {"(": ")", "[": "]", "{": "}"}


class Unknown:
    """Stands for a value that is no plain one."""


UNKNOWN = Unknown()


def read_config(text: str) -> dict[str, Any]:
    """The values that are assigned in a configuration.

    Args:
        text: lines of ``name = value``, where values are numbers, strings, lists, tuples and ``dict(name=value)``.

    Returns:
        By name; :data:`UNKNOWN` where a value is anything else. Empty where the text is no Python, or too long.
    """
    if len(text) > MAX_LENGTH:
        return {}
    config: dict[str, Any] = {}
    try:
        for statement in _statements(text):
            if len(statement) > 2 and statement[0].type == tokenize.NAME and statement[1].string == "=":
                config[statement[0].string] = _Reader(statement[2:]).whole()
    except (tokenize.TokenError, SyntaxError):
        return {}
    return config


def value_at(config: Any, path: str) -> Any:
    """The value under a dotted path; None where there is none."""
    for name in path.split("."):
        config = config.get(name) if isinstance(config, dict) else None
    return config


def _statements(text: str) -> Iterator[list[tokenize.TokenInfo]]:
    statement: list[tokenize.TokenInfo] = []
    for token in tokenize.generate_tokens(StringIO(text).readline):
        if token.type in (tokenize.NEWLINE, tokenize.ENDMARKER):
            yield statement
            statement = []
        elif token.type not in _SKIPPED:
            statement.append(token)


class _Reader:
    """The value in a list of tokens."""

    def __init__(self, tokens: list[tokenize.TokenInfo]) -> None:
        self.tokens = tokens
        self.at = 0

    def whole(self) -> Any:
        try:
            value = self._value(0)
        except ValueError:
            return UNKNOWN
        return value if self.at == len(self.tokens) else UNKNOWN

    @property
    def _next(self) -> str:
        return self.tokens[self.at].string if self.at < len(self.tokens) else ""

    def _take(self) -> tokenize.TokenInfo:
        if self.at >= len(self.tokens):
            raise ValueError("cut short")
        self.at += 1
        return self.tokens[self.at - 1]

    def _value(self, depth: int) -> Any:
        """One value, up to the comma or bracket that ends it."""
        start = self.at
        value = self._plain(depth)
        if self._next in (",", ":", ")", "]", "}", ""):
            return value
        # Something is computed from it.
        self.at = start
        self._skip()
        return UNKNOWN

    def _plain(self, depth: int) -> Any:
        if depth > _MAX_DEPTH:
            raise ValueError("too deep")
        token = self._take()
        if token.string == "-" and self._next[:1].isdigit():
            return -_number(self._take().string)
        if token.type == tokenize.NUMBER:
            return _number(token.string)
        if token.type == tokenize.STRING:
            texts = [token.string]
            while self.at < len(self.tokens) and self.tokens[self.at].type == tokenize.STRING:
                texts.append(self._take().string)
            plain = all(text[0] in "'\"" and "\\" not in text for text in texts)
            return "".join(ast.literal_eval(text) for text in texts) if plain else UNKNOWN
        if token.string in _CONSTANTS:
            return _CONSTANTS[token.string]
        if token.string == "dict" and self._next == "(":
            self._take()
            return dict(self._pairs("=", ")", depth))
        if token.string == "{":
            return dict(self._pairs(":", "}", depth))
        if token.string in ("[", "("):
            return list(self._items(_CLOSING[token.string], depth))
        self.at -= 1
        self._skip()
        return UNKNOWN

    def _items(self, closing: str, depth: int) -> Iterator[Any]:
        while self._next != closing:
            yield self._value(depth + 1)
            if self._next != closing and self._take().string != ",":
                raise ValueError("no comma")
        self._take()

    def _pairs(self, between: str, closing: str, depth: int) -> Iterator[tuple[str, Any]]:
        while self._next != closing:
            key = self._take()
            if self._take().string != between:
                raise ValueError("no pair")
            yield key.string.strip("'\""), self._value(depth + 1)
            if self._next != closing and self._take().string != ",":
                raise ValueError("no comma")
        self._take()

    def _skip(self) -> None:
        """Go to the comma or bracket that ends an expression."""
        open_brackets: list[str] = []
        while self.at < len(self.tokens):
            text = self._next
            if not open_brackets and text in (",", ")", "]", "}"):
                return
            if text in _CLOSING:
                open_brackets.append(_CLOSING[text])
            elif open_brackets and text == open_brackets[-1]:
                open_brackets.pop()
            self.at += 1


def _number(text: str) -> int | float:
    text = text.replace("_", "")
    try:
        return int(text[:20]) if len(text) <= 20 else float(text)
    except ValueError:
        return float(text)
