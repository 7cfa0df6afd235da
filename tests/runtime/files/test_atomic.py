import json
import subprocess
import sys

import cv2
import numpy as np
import pytest

import clips
from segopt.errors import SinkError
from segopt.files.atomic import replacing, write_bytes, write_image, write_json
from segopt.files.reserved import ReservedFile
from segopt.sinks.json_list import JsonStream


def test_files_appear_whole(tmp_path):
    write_bytes(tmp_path / "a.bin", b"abc")
    write_json(tmp_path / "a.json", {"é": [1]})
    write_image(tmp_path / "a.png", clips.frame(7))
    assert (tmp_path / "a.bin").read_bytes() == b"abc"
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"é": [1]}
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "a.png")), clips.frame(7))
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path, error):
    write_bytes(tmp_path / "a", b"old")

    def fail():
        with replacing(tmp_path / "a") as temporary:
            temporary.write_bytes(b"half")
            raise error

    with pytest.raises(error):
        fail()
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"old")]


@pytest.mark.parametrize(
    "write",
    [
        lambda path: write_bytes(path, b""),
        lambda path: write_json(path, []),
        lambda path: ReservedFile(path, 1),
        lambda path: JsonStream(path),
    ],
)
def test_an_unwritable_folder_is_one_clear_line(tmp_path, write):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SinkError, match="cannot be written") as caught:
        write(tmp_path / "file" / "a.json")
    assert "\n" not in str(caught.value)


def test_a_picture_that_cannot_be_encoded_is_named(tmp_path):
    with pytest.raises(SinkError, match=r"a\.nothing: pictures are written as \.png"):
        write_image(tmp_path / "a.nothing", np.zeros((3, 2, 3), np.uint8))
    with pytest.raises(SinkError, match=r"a\.png: OpenCV cannot encode 0x3 pixels as \.png"):
        write_image(tmp_path / "a.png", np.zeros((3, 0, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_a_reserved_file_holds_what_was_written_and_nothing_of_the_reserve(tmp_path):
    file = ReservedFile(tmp_path / "a", 1 << 20)
    file.write(b"hello world")
    file.seek(6)
    file.write(b"there")
    assert file.remaining >= 1 << 20
    assert file.seek(0, 2) == 11
    assert file.reader().read(100) == b"hello there"
    file.commit()
    assert (tmp_path / "a").read_bytes() == b"hello there"


def test_a_json_stream_is_valid_after_any_number_of_entries(tmp_path):
    for count in range(4):
        with JsonStream(tmp_path / "list.json") as plain:
            plain.extend([])
            for i in range(count):
                plain.extend([{"i": i}, None])
        assert json.loads((tmp_path / "list.json").read_text()) == [
            x for i in range(count) for x in ({"i": i}, None)
        ]
        with JsonStream(tmp_path / "object.json", key="entries", head={"info": "ü"}) as keyed:
            for i in range(count):
                keyed.extend([i], {"names": str(i)})
        document = json.loads((tmp_path / "object.json").read_text())
        assert document["entries"] == list(range(count))
        assert document.get("names", []) == [str(i) for i in range(count)]


def test_nothing_imports_pyav_before_a_window_can_be_opened():
    code = (
        "import sys, segopt, segopt.cli.run, segopt.sinks.making, segopt.pipeline.run, segopt.sinks.window;"
        "import segopt.sources;"
        "assert 'av' not in sys.modules and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
