import numpy as np
import pytest

import clips
import segopt
import tiny


def test_the_semantic_engine_says_what_is_bright(semantic_engine):
    image = clips.frame(10)
    result = segopt.load(semantic_engine)(image)
    np.testing.assert_array_equal(result.classes, image.mean(axis=2) > 127)


def test_the_panoptic_engine_finds_its_objects_and_the_sky(panoptic_engine):
    result = segopt.load(panoptic_engine)(np.full((*tiny.CANVAS, 3), 200, np.uint8))
    assert [segment.category_id for segment in result.segments] == [1, 3, tiny.SKY.id]


@pytest.mark.parametrize("batch", [1, 3])
def test_the_instance_engine_finds_what_is_above_the_threshold(tmp_path, batch):
    engine = tiny.instance_engine(tmp_path / "instance.onnx", batch=batch)
    results = segopt.load(engine)([clips.frame(0)] * batch)
    assert [result.labels.tolist() for result in results] == [[1, 3]] * batch
