"""Seeded damage: to any bytes, and to the structure of a JSON document."""

from __future__ import annotations

import copy
import json
import re
import struct
import zlib
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

EXTREMES = (0, 1, 2, 127, 128, 255, 256, 32767, 65535, 65536, 10**6, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1)
_NUMBERS = ("<B", "<H", ">H", "<I", ">I", "<Q", ">Q")
_NAME = re.compile(rb"[A-Za-z][A-Za-z0-9]{2,3}[ A-Za-z0-9]")
"""Names of fields, as containers of the RIFF and ISO kind have them, and PNG."""
_PNG_START = b"\x89PNG\r\n\x1a\n"
_HEAD = 96


def damaged(good: bytes, others: Sequence[bytes], chance: Random) -> bytes:
    """The same bytes after one or several kinds of damage; ``others`` are good inputs of the class."""
    data = bytearray(good)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        chance.choice(_DAMAGES)(data, others, chance)
    return bytes(data)


def resealed_png(data: bytes, chance: Random) -> bytes:
    """As often as not with right checksums, so that what stands in damaged fields is looked at."""
    if not data.startswith(_PNG_START) or chance.random() < 0.5:
        return data
    sealed, at = bytearray(data), len(_PNG_START)
    while at + 12 <= len(sealed):
        end = at + 8 + int.from_bytes(sealed[at : at + 4], "big")
        if end + 4 > len(sealed):
            break
        sealed[end : end + 4] = zlib.crc32(sealed[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(sealed)


def _somewhere(data: bytearray, chance: Random) -> int:
    """A place, as often as not in the head, where most fields are."""
    return chance.randrange(max(1, min(len(data), _HEAD) if chance.random() < 0.5 else len(data)))


def _flip(data: bytearray, _: Sequence[bytes], chance: Random) -> None:
    if data:
        data[_somewhere(data, chance)] ^= 1 << chance.randrange(8)


def _set(data: bytearray, _: Sequence[bytes], chance: Random) -> None:
    if data:
        data[_somewhere(data, chance)] = chance.randrange(256)


def _number(data: bytearray, _: Sequence[bytes], chance: Random) -> None:
    _write_number(data, _somewhere(data, chance), chance)


def _field(data: bytearray, _: Sequence[bytes], chance: Random) -> None:
    """An extreme number just before or behind a field's name."""
    names = [match.start() for match in _NAME.finditer(data)]
    if names:
        _write_number(data, max(0, chance.choice(names) + chance.choice((-4, 4, 4, 8, 12, 16, 20, 24))), chance)


def _write_number(data: bytearray, at: int, chance: Random) -> None:
    form = chance.choice(_NUMBERS)
    size = struct.calcsize(form)
    data[at : at + size] = struct.pack(form, chance.choice(EXTREMES) % (1 << 8 * size))


def _cut_out(data: bytearray, _: Sequence[bytes], chance: Random) -> None:
    at = _somewhere(data, chance)
    del data[at : at + chance.choice((1, 2, 4, chance.randrange(1, 64), chance.randrange(1, 4096)))]


def _cut_off(data: bytearray, _: Sequence[bytes], chance: Random) -> None:
    del data[chance.randrange(max(1, len(data))) :]


def _put_in(data: bytearray, _: Sequence[bytes], chance: Random) -> None:
    at = _somewhere(data, chance)
    data[at:at] = chance.randbytes(chance.choice((1, 2, 4, 64)))


def _blank(data: bytearray, _: Sequence[bytes], chance: Random) -> None:
    at, length = _somewhere(data, chance), chance.randrange(1, 512)
    data[at : at + length] = bytes([chance.choice((0, 0xFF))]) * len(data[at : at + length])


def _repeat(data: bytearray, _: Sequence[bytes], chance: Random) -> None:
    at = _somewhere(data, chance)
    data[at:at] = data[at : at + chance.randrange(1, 256)] * chance.choice((1, 2, 30))


def _move(data: bytearray, _: Sequence[bytes], chance: Random) -> None:
    start, to, length = _somewhere(data, chance), _somewhere(data, chance), chance.randrange(1, 256)
    data[to : to + length] = data[start : start + length]


def _splice(data: bytearray, others: Sequence[bytes], chance: Random) -> None:
    other = chance.choice(others)
    at = chance.randrange(max(1, len(data)))
    data[at:] = other[chance.choice((at, chance.randrange(max(1, len(other))))) :]


Damage = Callable[[bytearray, Sequence[bytes], Random], None]
_DAMAGES: tuple[Damage, ...] = (
    _flip, _flip, _set, _number, _number, _field, _field,
    _cut_out, _cut_off, _put_in, _blank, _repeat, _move, _splice,
)  # fmt: skip


def damaged_json(document: Any, chance: Random) -> bytes:
    """The text of a document after some change of its structure, now and then of its bytes."""
    changed = copy.deepcopy(document)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        changed = _changed(changed, chance)
    text = json.dumps(changed, ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")
    for name, raw in _RAW.items():
        text = text.replace(json.dumps(name).encode(), raw)
    if chance.random() < 0.1:
        text = damaged(text, [text], chance)
    return (b"\xef\xbb\xbf" if chance.random() < 0.03 else b"") + text


_RAW = {
    "@huge": b"1" + b"0" * 400,
    "@endless": b"9" * 5000,
    "@power": b"1e999",
    "@deep": b"[" * 100_000 + b"]" * 100_000,
    "@twice": b'{"id": 1, "id": 2}',
}
"""What no Python value is written as."""
_VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 0.5, 1.0, 255, 256, 65536, 2**24, 2**31 - 1, 2**31, -(2**31), 2**53 + 1,
    2**63, 2**64, 10**30, -1e9, 1e9, 1e300, float("nan"), float("inf"), -float("inf"),
    "", "a", "1", "432.0", "\ud800", "\0", "\x1b[2J", "../../outside.png", "/etc/passwd", "x" * 300, "x" * 100_000,
    "é" * 50, [], {}, [0], [[]], {"a": 1}, [None] * 5, [1e9, 1e9, 1e9, 1e9], [-1, -1, -1, -1],
    {"size": [2**31, 2**31], "counts": [2**62]}, *_RAW,
)  # fmt: skip


def _changed(document: Any, chance: Random) -> Any:
    places = list(_places(document))
    if not places:
        return chance.choice(_VALUES)
    parent, key = chance.choice(places)
    chance.choice(_CHANGES)(parent, key, places, chance)
    return document


def _places(node: Any) -> list[tuple[Any, Any]]:
    """Each value's parent, and its key or index in that."""
    found = []
    waiting = [node]
    while waiting:
        parent = waiting.pop()
        if isinstance(parent, (dict, list)):
            items = list(parent.items()) if isinstance(parent, dict) else list(enumerate(parent))
            found += [(parent, key) for key, _ in items]
            waiting += [value for _, value in items]
    return found


def _replace(parent: Any, key: Any, _: Any, chance: Random) -> None:
    parent[key] = copy.deepcopy(chance.choice(_VALUES))


def _remove(parent: Any, key: Any, _: Any, __: Random) -> None:
    del parent[key]


def _retype(parent: Any, key: Any, _: Any, chance: Random) -> None:
    value = parent[key]
    forms: list[Any] = [[value], {"value": value}, str(value)[:1000]]
    if isinstance(value, (int, float)):
        forms += [float(value), -value, value * 2**32]
    if isinstance(value, dict):
        forms.append(list(value.values()))
    if isinstance(value, list):
        forms.append({str(i): each for i, each in enumerate(value)})
    parent[key] = copy.deepcopy(chance.choice(forms))


def _copy(parent: Any, key: Any, places: Any, chance: Random) -> None:
    other, place = chance.choice(places)
    if place in (other if isinstance(other, dict) else range(len(other))):
        parent[key] = copy.deepcopy(other[place])


def _multiply(parent: Any, key: Any, _: Any, chance: Random) -> None:
    if isinstance(parent, list) and len(json.dumps(parent)) < 10_000:
        parent[key:key] = [copy.deepcopy(parent[key]) for _ in range(chance.choice((1, 2, 50)))]
    elif isinstance(parent, dict):
        parent[f"{key}2"] = copy.deepcopy(parent[key])


def _rename(parent: Any, key: Any, _: Any, chance: Random) -> None:
    if isinstance(parent, dict):
        parent[chance.choice((key.upper(), "", "x" * 5000, "\ud800", f"{key} "))] = parent.pop(key)


def _nudge(parent: Any, key: Any, _: Any, chance: Random) -> None:
    """To another value that may well be right."""
    value = parent[key]
    if type(value) in (int, float):
        parent[key] = chance.choice((value + 1, value - 1, value * 2, value / 2, float(value)))
    elif isinstance(value, str):
        parent[key] = chance.choice((value[1:], value.upper(), f"{value} ü", value * 3, f"{value}\n"))
    elif isinstance(value, list):
        chance.shuffle(value)
    elif isinstance(value, bool):
        parent[key] = not value


_CHANGES = (_replace, _replace, _replace, _nudge, _nudge, _nudge, _remove, _retype, _copy, _multiply, _rename)
