"""Sizes of images as people write them."""

import pytest

from scalegan.config import loading
from scalegan.errors import RecipeError
from scalegan.support.resolution import base_of, fits, nearest, of_sides, parse, sides_of


@pytest.mark.parametrize(("given", "stored", "sides"), [
    (64, 64, (64, 64)), ("64", 64, (64, 64)), ("64x64", 64, (64, 64)), (64.0, 64, (64, 64)),
    ("64x32", "64x32", (32, 64)), ("32x96", "32x96", (96, 32)), ("1x7", "1x7", (7, 1))])
def test_width_stands_before_height_and_squares_are_numbers(given: object, stored: object, sides: tuple) -> None:
    assert (parse(given), sides_of(parse(given)), of_sides(*sides)) == (stored, sides, stored)


@pytest.mark.parametrize("given", ["256x", "x", "x256", "", "0", "0x4", "4x0", "64X32", "64 x 32", "-4", "6x4x3", "1.5",
                                   True, None, 0, -3, "70000x1", "20000x20000", "9" * 30])
def test_what_is_no_size_is_refused_in_a_line(given: object) -> None:
    with pytest.raises(ValueError, match="; ") as refused:
        parse(given)
    assert "\n" not in str(refused.value)


def test_images_are_doubled_from_four_pixels_along_the_shorter_side() -> None:
    assert (base_of(32, 64), base_of(96, 32), base_of(64, 64)) == ((4, 8), (12, 4), (4, 4))
    with pytest.raises(ValueError, match="multiple of 8"):
        base_of(32, 36)


@pytest.mark.parametrize(("given", "found"), [("100x64", ["96x64", "112x64"]), ("64x100", ["64x96", "64x112"]),
                                              ("36x32", [32, "40x32"]), ("64x30", ["64x32", "72x32"])])
def test_the_nearest_sizes_fit(given: str, found: list) -> None:
    known = (16, 32, 64, 128)
    assert not fits(given, known) and all(fits(size, known) for size in found)
    assert nearest(given, known) == found


@pytest.mark.parametrize(("size", "message"), [
    ("100x64", "prepare the data at 96x64 or 112x64"), ("256x", "data.resolution=256x: not a size"),
    ("0", "data.resolution=0: a side has 0 px"), ("99999x4", "data.resolution=99999x4: too large")])
def test_a_recipe_says_what_would_do(size: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        loading.load(["recipe=celeba_dcgan", "data.path=x", f"data.resolution={size}"])
    assert loading.load(["recipe=celeba_dcgan", "data.path=x", "data.resolution=96x64"]).data.sides == (64, 96)
