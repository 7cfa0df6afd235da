"""Sources are cut into units whose names are given once, whatever files are called and whenever they come."""

import os
from pathlib import Path

import pytest

import clips
from segopt.errors import SourceError, UsageError
from segopt.labeling.listing import find_files
from segopt.labeling.units import InputFile, Unit, joined, new_units


def pictures(folder, *names):
    return [InputFile(folder, name, "pictures") for name in names]


def videos(folder, *names):
    return [InputFile(folder, name, "video") for name in names]


def found(*sources, output="/nowhere"):
    listing = find_files([str(source) for source in sources], Path(output))
    return [file.place for file in listing.files], listing.missing


def test_a_video_is_a_unit_and_pictures_of_a_folder_are_cut_into_chunks():
    units = new_units(
        [*videos("/lake", "a.mp4", "b.mp4"), *pictures("/lake/in", "1.png", "2.png", "3.png")], [], 2
    )
    assert [(unit.name, unit.files) for unit in units] == [
        ("a", ("a.mp4",)),
        ("b", ("b.mp4",)),
        ("in", ("1.png", "2.png")),
        ("in-2", ("3.png",)),
    ]


def test_no_two_units_have_one_name_in_whatever_case():
    units = new_units(
        [*videos("/a", "x.mp4", "x.mkv", "x-2.mp4"), *videos("/b", "X.mp4", ".x.mp4"), *videos("/c", "x.mp4")],
        [],
        9,
    )
    names = [unit.name for unit in units]
    assert names == ["x", "x-2", "x-2-2", "X-3", "x-4", "x-5"]
    assert len({name.casefold() for name in names}) == len(names)


def test_dots_stay_and_what_cannot_be_a_folder_is_made_one():
    names = [unit.name for unit in new_units(videos("/a", "IMG.2024.01.mp4", "...mp4", "é" * 300 + ".mp4"), [], 9)]
    assert names[:2] == ["IMG.2024.01", "unit"]
    assert len(names[2].encode()) <= 200


def test_ten_thousand_videos_of_one_name_are_named_in_one_pass():
    units = new_units([InputFile(f"/lake/{i}", "x.mp4", "video") for i in range(10_000)], [], 9)
    assert len({unit.name for unit in units}) == 10_000


def test_a_job_grows_and_keeps_the_units_that_it_has():
    first = new_units(pictures("/in", "a.png", "c.png"), [], 2)
    more = new_units(pictures("/in", "a.png", "b.png", "c.png", "d.png"), first, 2)
    assert [(unit.name, unit.files) for unit in more] == [("in-2", ("b.png", "d.png"))]
    assert new_units(pictures("/in", "a.png", "b.png"), [*first, *more], 2) == []


@pytest.mark.parametrize("name", ["a", "IMG.2024.01", "\udcff"])
def test_a_unit_is_read_back_from_its_json(name):
    unit = Unit(name, "pictures", "s3://lake/in?region=eu", (f"{name}.png", "b.png"))
    assert Unit.from_json(unit.to_json()) == unit
    assert unit.places[1] == "s3://lake/in/b.png?region=eu"


@pytest.mark.parametrize(
    "change", [{"name": "../x"}, {"name": ".x"}, {"name": ""}, {"files": []}, {"kind": "film"}]
)
def test_a_damaged_unit_is_refused(change):
    members = Unit("a", "video", "/lake", ("a.mp4",)).to_json()
    with pytest.raises((ValueError, TypeError)):
        Unit.from_json({**members, **change})


def test_a_file_in_a_folder_keeps_the_options_of_the_uri():
    assert joined("/lake/", "a.mp4") == "/lake/a.mp4"
    assert joined("s3://lake/in?endpoint_override=h:1&scheme=http", "a.mp4") == (
        "s3://lake/in/a.mp4?endpoint_override=h:1&scheme=http"
    )


# What sources name.


@pytest.fixture
def lake(tmp_path):
    clips.pictures(tmp_path / "lake" / "in", ["10.png", "9.png", "IMG.2024.01.png"])
    for name in ("b.mp4", "a.mp4", ".hidden.mp4", "notes.txt"):
        (tmp_path / "lake" / name).write_bytes(b"x")
    return tmp_path / "lake"


def test_a_folder_is_taken_with_all_below_it_in_natural_order(lake):
    places, _ = found(lake)
    names = [os.path.relpath(place, lake) for place in places]
    assert names == ["a.mp4", "b.mp4", "in/9.png", "in/10.png", "in/IMG.2024.01.png"]


def test_the_results_are_not_labeled_themselves(lake):
    clips.pictures(lake / "out" / "panoptic", ["1.png"])
    assert not any("/out/" in place for place in found(lake, output=lake / "out")[0])
    assert not any("/in/" in place for place in found(lake, output=lake / "in")[0])


def test_a_file_a_glob_and_a_list_name_their_files(lake, tmp_path):
    (tmp_path / "list.txt").write_text(f"# mine\n{lake}/a.mp4\n\n{lake}/lost.mp4\n{lake}/in/*.png\n{lake}/gone\n")
    places, missing = found(f"@{tmp_path}/list.txt")
    assert len(places) == 4
    assert [line.partition(":")[0] for line in missing] == [f"{lake}/lost.mp4", f"{lake}/gone"]
    assert found(lake / "b.mp4")[0] == [str(lake / "b.mp4")]
    assert found(f"{lake}/**/1*.png")[0] == [str(lake / "in" / "10.png")]


def test_what_is_typed_must_be_there(lake, tmp_path):
    for source, words in (
        (lake / "a.mp5", "does not exist; did you mean"),
        (f"{lake}/*.avi", "matches no file"),
        (tmp_path / "empty", "has no videos and no pictures"),
        ("gopher://host/x", "cannot be read|needs pyarrow"),
    ):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(SourceError, match=words):
            found(source)
    for name, words in (("nowhere", "cannot be read"), ("list", "names no source")):
        (tmp_path / "list").write_text("# nothing\n")
        with pytest.raises(UsageError, match=words):
            found(f"@{tmp_path / name}")


def test_files_of_another_file_system_are_found_and_copied(lake, tmp_path):
    pytest.importorskip("pyarrow")
    pytest.importorskip("fsspec")
    from segopt.labeling import remote

    # fsspec's name for what is here, which pyarrow does not know.
    places, _ = found(f"local://{lake}")
    assert [place.removeprefix(f"local://{lake}/") for place in places] == [
        "a.mp4",
        "b.mp4",
        "in/9.png",
        "in/10.png",
        "in/IMG.2024.01.png",
    ]
    assert found(f"local://{lake}/*.mp4")[0] == [f"local://{lake}/a.mp4", f"local://{lake}/b.mp4"]
    assert found(f"local://{lake}/a.mp4")[0] == [f"local://{lake}/a.mp4"]
    with pytest.raises(SourceError, match="has no videos and no pictures"):
        found(f"local://{lake}/nothing")
    remote.fetch(f"local://{lake}/in", "9.png", tmp_path / "copy.png")
    assert (tmp_path / "copy.png").read_bytes() == (lake / "in" / "9.png").read_bytes()
    with pytest.raises(SourceError, match=r"lost\.png: cannot be read"):
        remote.fetch(f"local://{lake}/in", "lost.png", tmp_path / "x")
