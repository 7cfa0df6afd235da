"""What is kept from run to run: damaged or missing files are not there, and nothing ever fails for it."""

import os
from pathlib import Path

import pytest

from segopt.files import cache


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGOPT_CACHE", str(tmp_path / "kept"))
    return tmp_path / "kept"


def file_in(place):
    (path,) = place.iterdir()
    return path


@pytest.mark.usefixtures("place")
def test_what_is_kept_is_there():
    assert cache.read("one") is None
    cache.keep("one", b"first")
    cache.keep("one", b"second")
    cache.keep("two", b"")
    assert (cache.read("one"), cache.read("two")) == (b"second", b"")
    cache.forget("one")
    cache.forget("one")
    assert cache.read("one") is None


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: b"\1" + data[1:], lambda _: b""])
def test_a_damaged_file_is_not_there(place, damage):
    cache.keep("one", b"content")
    path = file_in(place)
    path.write_bytes(damage(path.read_bytes()))
    assert cache.read("one") is None
    cache.keep("one", b"content")
    assert cache.read("one") == b"content"


def test_a_folder_that_cannot_be_written_keeps_nothing(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SEGOPT_CACHE", str(tmp_path / "file" / "below"))
    cache.keep("one", b"content")
    assert cache.read("one") is None


def test_off_keeps_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SEGOPT_CACHE", "off")
    cache.keep("one", b"content")
    assert cache.read("one") is None
    assert list(tmp_path.iterdir()) == []


def test_without_the_variable_it_is_the_users_cache_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("SEGOPT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.folder() == tmp_path / "segopt"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.folder() == tmp_path / ".cache" / "segopt"


def test_what_was_not_used_for_longest_goes_first(place, monkeypatch):
    monkeypatch.setattr(cache, "LIMIT", 1000)
    for age, name in enumerate(["old", "older", "oldest"], start=1):
        cache.keep(name, bytes(250))
        os.utime(place / f"{name}.kept", (-age, -age))
    assert cache.read("oldest") is not None
    cache.keep("new", bytes(250))
    assert {path.stem for path in Path(place).iterdir()} == {"old", "oldest", "new"}


@pytest.mark.usefixtures("place")
def test_what_would_fill_a_quarter_is_not_kept(monkeypatch):
    monkeypatch.setattr(cache, "LIMIT", 1000)
    cache.keep("large", bytes(251))
    assert cache.read("large") is None


def test_a_key_tells_its_facts_apart():
    assert cache.key_of("a", 1, None) == cache.key_of("a", 1, None)
    assert len({cache.key_of("a", 1), cache.key_of("a", "1"), cache.key_of("a1"), cache.key_of("a", 2)}) == 4
