"""The demo: small networks that come with the package, on scenes that they have not seen."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest

import segopt
from segopt_bench import demo
from segopt_bench.scenes import CATEGORIES, Scene

pytestmark = pytest.mark.slow

SIZE = (256, 448)


@pytest.fixture(scope="module")
def demo_model(exported):
    return exported("panoptic")


def test_the_demo_model_knows_the_categories_of_the_scenes(demo_model):
    card = segopt.read_card(demo_model)
    assert card.canvas == SIZE
    assert card.categories["panoptic"] == CATEGORIES
    assert {origin.name for origin in card.weights.values()} == {"demo"}


def test_most_of_a_scene_is_recognized(demo_model):
    scenes = [Scene(seed).render(*SIZE) for seed in range(12)]
    right, large, found = [], 0, 0
    with segopt.load(demo_model, stuff_area=400) as segmenter:
        for scene in scenes:
            result = segmenter(scene.frame)
            assert isinstance(result, segopt.PanopticResult)
            ids = np.zeros(result.segment_map.max() + 1, dtype=int)
            ids[[s.id for s in result.segments]] = [s.category_id for s in result.segments]
            right.append((ids[result.segment_map] == scene.classes + 1).mean())
            for thing in (s for s in scene.segments if s.is_thing and s.area > 1500):
                large += 1
                mask = scene.segment_map == thing.id
                found += any(
                    s.category_id == thing.category_id and overlap(mask, result.mask(s.id)) > 0.5
                    for s in result.segments
                )
    assert np.mean(right) > 0.8
    assert large > 10
    assert found / large > 0.6


def overlap(a, b):
    return np.count_nonzero(a & b) / np.count_nonzero(a | b)


@pytest.mark.parametrize(
    "name", ["street/a", "video-overlay.mp4", "panoptic.json", "panoptic/a", "contact-sheet.png"]
)
def test_a_demo_replaces_nothing_that_no_demo_made(segopt_cli, tmp_path, name):
    path = tmp_path / "demo" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(b"own")
    status, _, err = segopt_cli("demo", "--output", tmp_path / "demo", "--seconds", 1)
    first = path if path.parent == tmp_path / "demo" else path.parent
    assert status == 1
    assert err.startswith(f"segopt: error: {first}: exists already; give another place for it")
    assert [each for each in (tmp_path / "demo").rglob("*") if each.is_file()] == [path]
    assert path.read_bytes() == b"own"


def test_a_demo_replaces_no_model_of_others(segopt_cli, tmp_path):
    path = tmp_path / "demo" / "panoptic-demo.onnx"
    path.parent.mkdir()
    path.write_bytes(b"own")
    status, _, err = segopt_cli("demo", "--output", tmp_path / "demo", "--seconds", 1)
    assert (status, "is no file that segopt exported" in err) == (1, True)
    assert path.read_bytes() == b"own"


def test_segopt_demo_leaves_what_it_says(segopt_cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, _ = segopt_cli("demo", "--seconds", 1)
    assert status == 0
    for name in ("panoptic-demo.onnx", "video-overlay.mp4", "panoptic.json", "contact-sheet.png"):
        assert (tmp_path / "runs" / "demo" / name).stat().st_size > 0
        assert f"runs/demo/{name}" in out
    # A second one takes the first one's place; the model is the same.
    model = tmp_path / "runs" / "demo" / "panoptic-demo.onnx"
    kept = shutil.copy(model, tmp_path)
    copied = SimpleNamespace(path=model)
    monkeypatch.setattr(demo, "export", lambda request, **_: shutil.copy(kept, request.output) and copied)
    assert segopt_cli("demo", "--seconds", 1)[0] == 0
