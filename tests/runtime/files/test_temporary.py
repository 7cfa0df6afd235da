import os
import re
import stat

import pytest

from segopt.errors import SinkError
from segopt.files.atomic import replacing, write_bytes
from segopt.files.reserved import ReservedFile
from segopt.files.temporary import create, free_name, leftovers, try_lock


def test_temporary_names_cannot_be_guessed(tmp_path):
    names = set()
    for _ in range(50):
        path, descriptor = create(tmp_path / "a.json", "part")
        os.close(descriptor)
        assert re.fullmatch(r"\.a\.json\.[0-9a-f]{16}\.part", path.name)
        assert str(os.getpid()) not in path.name.split(".")
        names.add(path.name)
    assert len(names) == 50


@pytest.mark.parametrize("dangling", [False, True])
def test_a_planted_link_is_neither_followed_nor_replaced(tmp_path, monkeypatch, dangling):
    victim = tmp_path / "victim"
    if not dangling:
        victim.write_bytes(b"precious")
    drawn = iter([bytes(8), bytes(7) + b"\1"])
    monkeypatch.setattr(os, "urandom", lambda _: next(drawn))
    (tmp_path / f".a.{'00' * 8}.part").symlink_to(victim)
    with pytest.raises(SinkError, match="cannot be written"):
        ReservedFile(tmp_path / "a", 1)
    assert victim.exists() != dangling
    if not dangling:
        assert victim.read_bytes() == b"precious"


@pytest.mark.parametrize("mask", [0o077, 0o022])
def test_permissions_are_those_that_the_umask_leaves(tmp_path, mask):
    before = os.umask(mask)
    try:
        write_bytes(tmp_path / "a", b"")
        ReservedFile(tmp_path / "b", 1).commit()
    finally:
        os.umask(before)
    assert {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in "ab"} == {0o666 & ~mask}


@pytest.mark.parametrize("there", ["file", "folder", "dangling link"])
def test_what_exists_is_not_overwritten(tmp_path, there):
    path = tmp_path / "a"
    {
        "file": lambda: path.write_bytes(b"own"),
        "folder": path.mkdir,
        "dangling link": lambda: path.symlink_to(tmp_path / "nowhere"),
    }[there]()
    before = os.lstat(path)
    with pytest.raises(SinkError, match=r"a: exists already.*--overwrite"):
        write_bytes(path, b"new", overwrite=False)
    assert os.path.samestat(os.lstat(path), before)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_a_file_that_grew_is_not_lost_to_one_that_took_its_name(tmp_path):
    file = ReservedFile(tmp_path / "a.mp4", 1, overwrite=False)
    file.write(b"frames")
    (tmp_path / "a.mp4").write_bytes(b"another's")
    with pytest.raises(SinkError, match=r"a\.mp4: .* is in .*a-2\.mp4"):
        file.commit()
    assert (tmp_path / "a.mp4").read_bytes() == b"another's"
    assert (tmp_path / "a-2.mp4").read_bytes() == b"frames"
    assert len(list(tmp_path.iterdir())) == 2


def test_where_the_file_system_has_no_links_nothing_is_overwritten_either(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    write_bytes(tmp_path / "a", b"own", overwrite=False)
    with pytest.raises(SinkError, match="exists already"):
        write_bytes(tmp_path / "a", b"new", overwrite=False)
    assert (tmp_path / "a").read_bytes() == b"own"


def test_files_of_living_writers_are_no_leftovers(tmp_path):
    with replacing(tmp_path / "a"), leftovers(tmp_path) as found:
        assert found == []
    path, descriptor = create(tmp_path / "b", "tmp")
    os.close(descriptor)
    (tmp_path / ".mine.part").touch()
    with leftovers(tmp_path) as found:
        assert [(left.path, left.target, left.ending) for left in found] == [(path, tmp_path / "b", "tmp")]


def test_a_lock_is_for_one(tmp_path):
    _, first = create(tmp_path / "a", "tmp")
    (path,) = tmp_path.iterdir()
    second = os.open(path, os.O_RDWR)
    assert not try_lock(second)
    os.close(first)
    assert try_lock(second)
    os.close(second)


def test_free_names_count_on(tmp_path):
    for name in ("a.mp4", "a-2.mp4"):
        (tmp_path / name).touch()
    assert free_name(tmp_path / "a.mp4") == tmp_path / "a-3.mp4"
    assert free_name(tmp_path / "b.mp4", [tmp_path / "b.mp4"]) == tmp_path / "b-2.mp4"
