"""An interrupt at the moment when a file comes into being leaves nothing of it."""

import os
import signal
import sys
import time

import pytest

from segopt import interrupts
from segopt.files import atomic, lock, reserved
from segopt.interrupts import Interrupted
from segopt.model import sidecar
from segopt.sinks.json_list import JsonStream
from segopt.sinks.recovery import recover_below


@pytest.fixture(autouse=True)
def _watched(monkeypatch):
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)  # put back behind the test
    before = {number: signal.getsignal(number) for number in interrupts.SIGNALS}
    interrupts.watch()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def signaled_after(monkeypatch, owner, name):
    """Let a signal come just when a call is over, the first time."""
    real, calls = getattr(owner, name), []

    def call(*arguments, **options):
        result = real(*arguments, **options)
        calls.append(1)
        if len(calls) == 1:
            signal.raise_signal(signal.SIGTERM)
        return result

    monkeypatch.setattr(owner, name, call)


def replace(path):
    with atomic.replacing(path) as temporary:
        temporary.write_bytes(b"new")


def hold(path):
    with lock.locked(path.parent):
        pass


@pytest.mark.parametrize(
    ("owner", "name", "use"),
    [
        (atomic, "create", lambda path: atomic.check_writable(path)),
        (atomic, "create", replace),
        (reserved, "create", lambda path: reserved.ReservedFile(path, 1)),
        (lock, "_lock", hold),
    ],
)
def test_a_file_that_has_just_been_made_goes_again(tmp_path, monkeypatch, owner, name, use):
    signaled_after(monkeypatch, owner, name)
    with pytest.raises(Interrupted):
        use(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_a_plan_and_its_sidecar_come_together(tmp_path, monkeypatch):
    signaled_after(monkeypatch, atomic, "give_name")

    class Made:
        def to_json(self):
            return "{}"

    with pytest.raises(Interrupted):
        sidecar.write(tmp_path / "a.plan", b"plan", Made())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.plan", "a.plan.json"]


def test_what_was_recovered_is_not_recovered_again(tmp_path, monkeypatch):
    dead = JsonStream(tmp_path / "a.json")
    dead.extend([{"n": 1}])
    dead._file._open = False
    os.close(dead._file._descriptor)
    signaled_after(monkeypatch, reserved.ReservedFile, "commit")
    with pytest.raises(Interrupted):
        recover_below(tmp_path)
    assert recover_below(tmp_path).files == ()
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.json", '[\n{"n":1}\n]\n')]


@pytest.mark.slow
def test_an_interrupt_that_comes_in_a_finalizer_is_not_lost(capfd):
    class Finalized:
        def __del__(self):
            signal.raise_signal(signal.SIGTERM)

    def wait():
        Finalized()
        time.sleep(10)

    with pytest.raises(Interrupted) as raised:
        wait()
    assert raised.value.status == 128 + signal.SIGTERM
    assert capfd.readouterr().err == ""
