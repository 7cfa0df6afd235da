"""Colors are distinct, the same in each run, and do not change when classes are added."""

import cv2
import numpy as np
import pytest

from segopt.draw.palette import _to_lab, _to_rgb, class_colors, instance_color, line_color, text_color


def lab(colors):
    return cv2.cvtColor(np.array([colors], dtype=np.float32) / 255, cv2.COLOR_RGB2Lab)[0]


def closest_pair(colors):
    points = lab(colors)
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    return distances[~np.eye(len(points), dtype=bool)].min()


@pytest.mark.parametrize(("n", "apart"), [(2, 60), (21, 25), (81, 12), (256, 6)])
def test_class_colors_are_apart_in_lab(n, apart):
    colors = class_colors(n)
    assert len(colors) == n
    assert closest_pair(colors) >= apart


def test_adding_classes_changes_no_color():
    many = class_colors(200)
    for n in (0, 1, 20, 64, 65, 199):
        assert class_colors(n) == many[:n]


def test_colors_are_plain_rgb_triples():
    for color in (*class_colors(70), *(instance_color((220, 20, 60), k) for k in range(60))):
        assert isinstance(color, tuple)
        assert all(type(channel) is int and 0 <= channel <= 255 for channel in color)


def test_more_classes_than_colors_still_get_one():
    assert len(class_colors(5000)) == 5000


def test_a_negative_number_of_classes_is_an_error():
    with pytest.raises(ValueError, match="-1"):
        class_colors(-1)


# Person, car (nearly black blue), gray, white and black.
BASES = [(220, 20, 60), (0, 0, 142), (128, 128, 128), (255, 255, 255), (0, 0, 0)]


@pytest.mark.parametrize("base", BASES)
def test_the_first_object_has_the_color_of_its_class(base):
    assert instance_color(base, 0) == base


@pytest.mark.parametrize("base", BASES)
def test_objects_of_one_class_have_visibly_different_shades(base):
    # 2.3 is the least difference that the eye sees.
    assert closest_pair([instance_color(base, k) for k in range(10)]) >= 10
    assert closest_pair([instance_color(base, k) for k in range(40)]) >= 4


def test_shades_stay_akin_to_their_class():
    base = (60, 180, 75)
    shades = lab([instance_color(base, k) for k in range(40)])
    assert np.linalg.norm(shades[:, 1:] - lab([base])[:, 1:], axis=1).max() < 40


def test_lines_are_lightened_only_where_they_are_dark():
    assert line_color((220, 200, 60)) == (220, 200, 60)
    assert line_color((255, 255, 255)) == (255, 255, 255)
    red, green, blue = line_color((0, 0, 70))
    assert red == green < blue
    assert red > 90


def test_text_is_dark_on_light_and_white_on_dark():
    assert text_color((255, 255, 200)) == (24, 24, 24)
    assert text_color((0, 0, 142)) == (255, 255, 255)


def contrast(a, b):
    """WCAG 2's ratio of two RGB colors, 1 to 21."""
    channels = np.array([a, b]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    darker, lighter = sorted(linear @ (0.2126, 0.7152, 0.0722))
    return (lighter + 0.05) / (darker + 0.05)


def test_text_has_the_contrast_that_wcag_asks_of_large_text():
    backgrounds = np.random.default_rng(0).integers(0, 256, (3000, 3)).tolist()
    assert min(contrast(text_color(tuple(color)), color) for color in backgrounds) >= 3


@pytest.mark.parametrize(("level", "white"), [(118, True), (130, True), (137, True), (143, False), (160, False)])
def test_text_stays_white_until_black_is_clearly_easier_to_read(level, white):
    """On the gray of 130 black has 1.2 times the contrast of white, on that of 143 1.7 times."""
    assert (text_color((level,) * 3) == (255, 255, 255)) is white


def test_lab_is_that_of_the_standard():
    known = {
        (255, 255, 255): (100, 0, 0),
        (255, 0, 0): (53.23, 80.11, 67.22),
        (0, 0, 255): (32.30, 79.20, -107.86),
    }
    found = _to_lab(np.array(list(known), np.uint8))
    np.testing.assert_allclose(found, np.array(list(known.values())), atol=0.02)


def test_lab_and_back_is_the_same_color():
    colors = np.random.default_rng(0).integers(0, 256, (2000, 3)).astype(np.uint8)
    np.testing.assert_array_equal(_to_rgb(_to_lab(colors).astype(np.float64)), colors)
