"""Transcripts in the pages are what the program prints, times and versions apart."""

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```\n\$ (segopt .*?)\n(.*?)^```", re.DOTALL | re.MULTILINE)
TRANSCRIPTS = [(page.name, *found) for page in PAGES for found in BLOCK.findall(page.read_text(encoding="utf-8"))]
FRAMES = 6

CHANGING = [
    (r"\d+(\.\d+)? (s|ms|fps|MB|frames|objects)\b", r"N \2"),
    (r"\d+% busy", "N% busy"),
    (r" the bottleneck", ""),
    (r"\bwithin [\d.e-]+", "within N"),
    (r"\b(segopt|torch|torchvision|onnx|TensorRT-RTX|ONNX Runtime) \d[\w.+]*", r"\1 V"),
    (r"\s+", " "),
]
"""What is of a machine or a moment."""
TOLERANCE = 0.5
"""Of figures in percent: another PyTorch or ONNX Runtime may tip a pixel."""

pytestmark = pytest.mark.slow


def plain(line):
    for pattern, instead in CHANGING:
        line = re.sub(pattern, instead, line)
    return line.strip()


def same(expected, printed):
    ours, theirs = plain(expected).split(" "), plain(printed).split(" ")
    return len(ours) == len(theirs) and all(map(same_word, ours, theirs))


def same_word(one, other):
    if one == other or set(one) == set(other) == {"─"}:
        return True
    numbers = [re.fullmatch(r"[+-]?\d+\.\d+", word) for word in (one, other)]
    return all(numbers) and abs(float(one) - float(other)) <= TOLERANCE


def assert_printed(expected, printed):
    """Every line is there, in order; a line of dots stands for any number of lines."""
    rest = [line for line in printed.splitlines() if line.strip()]
    skip = False
    for line in expected.splitlines():
        if line.strip() == "...":
            skip = True
        elif line.strip():
            while skip and rest and not same(line, rest[0]):
                rest.pop(0)
            assert rest, f"not printed: {line}"
            assert same(line, rest[0]), f"the page says\n{line}\nand the program\n{rest[0]}"
            rest.pop(0)
            skip = False
    assert skip or rest == []


@pytest.fixture(scope="module")
def place(tmp_path_factory, exported):
    """A folder in which the pages' commands find what they name."""
    from segopt_bench.scenes import write_clip, write_dataset

    folder = tmp_path_factory.mktemp("pages")
    (folder / "engines").mkdir()
    shutil.copy(exported("panoptic"), folder / "engines" / "panoptic.onnx")
    shutil.move(write_clip(folder / "street", 31, (432, 768), frames=FRAMES), folder / "street.mp4")
    (folder / "runs" / "demo" / "street").mkdir(parents=True)
    shutil.copy(folder / "street.mp4", folder / "runs" / "demo" / "street" / "video.mp4")
    write_dataset(folder / "scenes", range(10), (256, 448))
    return folder


def prints(folder, line):
    done = subprocess.run(
        [sys.executable, "-m", *shlex.split(line)],
        cwd=folder,
        env={**os.environ, "COLUMNS": "110"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    for made in {*(folder / "runs").iterdir()} - {folder / "runs" / "demo"}:
        shutil.rmtree(made)
    return done.stdout


def of(verb):
    found = [(line, text) for _, line, text in TRANSCRIPTS if line.split()[1] == verb]
    assert found
    return found


@pytest.mark.parametrize("verb", ["info", "run", "eval", "bench"])
def test_a_transcript_is_what_is_printed(place, verb):
    for line, text in of(verb):
        assert_printed(text, prints(place, line))


def test_that_of_an_export(place):
    ((line, text),) = of("export")
    assert_printed(text, prints(place, line.replace("engines/", "exported/")).replace("exported/", "engines/"))


@pytest.mark.skipif(importlib.util.find_spec("tensorrt_rtx") is None, reason="TensorRT-RTX is not installed")
def test_that_of_a_build(place, exported):
    shutil.copy(exported("panoptic", precision="fp16", target="tensorrt"), place / "street.onnx")
    ((line, text),) = of("build")
    assert_printed(text, prints(place, line))


def test_that_of_the_doctor_names_what_it_looks_at():
    from segopt.doctor.examine import examine

    ((_, text),) = of("doctor")
    shown = [re.split(r" {2,}", line.strip())[0] for line in text.splitlines() if re.match(r" \S", line)]
    assert [name for name in shown if name[0] != "─"] == [each.name for each in examine()]


def test_every_transcript_is_held_against_the_program():
    assert {line.split()[1] for _, line, _ in TRANSCRIPTS} == {
        "info",
        "run",
        "eval",
        "bench",
        "export",
        "build",
        "doctor",
    }


def test_another_line_is_found_out():
    with pytest.raises(AssertionError, match="the page says"):
        assert_printed("90 frames in 6 s\nwrote it", "90 frames in 7 s\nlost it")
