import os
import subprocess
import sys
import threading

import pytest

from segopt.errors import SinkError
from segopt.files.lock import LOCK_NAME, locked


def test_a_second_run_is_told_who_has_the_folder(tmp_path):
    with (
        locked(tmp_path),
        pytest.raises(SinkError, match=rf"process {os.getpid()} on '.+', since \d{{4}}-.*--output"),
        locked(tmp_path),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_the_lock_of_a_dead_process_binds_nobody(tmp_path):
    code = f"""
import os, pathlib
from segopt.files.lock import locked
with locked(pathlib.Path({str(tmp_path)!r})):
    os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    assert [path.name for path in tmp_path.iterdir()] == [LOCK_NAME]
    with locked(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_planted_link_is_not_followed(tmp_path):
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / LOCK_NAME).symlink_to(victim)
    with pytest.raises(SinkError, match="is a link"), locked(tmp_path):
        pass
    assert victim.read_bytes() == b"precious"


def test_a_planted_pipe_is_no_lock(tmp_path):
    os.mkfifo(tmp_path / LOCK_NAME)
    with pytest.raises(SinkError, match="is no lock file"), locked(tmp_path):
        pass


def test_of_many_at_once_one_at_a_time_has_it(tmp_path):
    inside, most, refused = [], [], []

    def run():
        for _ in range(50):
            try:
                with locked(tmp_path):
                    inside.append(1)
                    most.append(len(inside))
                    inside.pop()
            except SinkError:
                refused.append(1)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(most) == {1}
    assert len(most) + len(refused) == 200
    assert list(tmp_path.iterdir()) == []
