"""CIE-LAB against scikit-image's numbers, and inputs derived from images."""

import pytest
import torch

from scalegan.data.colour import in_gamut, lab_to_rgb, rgb_to_lab
from scalegan.data.derived import DERIVED

# skimage.color.rgb2lab of scikit-image 0.26.0, for sRGB in bytes.
LAB = {
    (255, 0, 0): (53.2406, 80.0923, 67.2028), (0, 255, 0): (87.7351, -86.1830, 83.1795),
    (0, 0, 255): (32.2957, 79.1856, -107.8573), (0, 0, 0): (0, 0, 0), (255, 255, 255): (100, -0.0025, 0.0047),
    (12, 200, 34): (70.5247, -70.2328, 64.0013), (250, 128, 114): (67.2640, 45.2255, 29.0965),
    (3, 3, 4): (0.8423, 0.1390, -0.3783), (128, 0, 128): (29.7842, 58.9271, -36.4848),
    (255, 255, 0): (97.1395, -21.5547, 94.4781), (17, 94, 201): (41.7505, 19.8994, -61.4733),
}


def pixels(colours: object, scale: float = 1.0) -> torch.Tensor:
    """[1, 3, 1, N] of N colours."""
    return torch.tensor(list(colours)).float().T[None, :, None] / scale


def test_lab_is_scikit_images() -> None:
    torch.testing.assert_close(rgb_to_lab(pixels(LAB, 255)), pixels(LAB.values()), atol=1e-3, rtol=0)


@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_lab_and_back(dtype: torch.dtype, tolerance: float) -> None:
    rgb = torch.rand(2, 3, 16, 16, dtype=dtype, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(lab_to_rgb(rgb_to_lab(rgb)), rgb, atol=tolerance, rtol=0)


def test_gradients_are_finite_at_black_white_and_the_corners_of_the_gamut() -> None:
    rgb = pixels([(r, g, b) for r in (0, 1) for g in (0, 1) for b in (0, 1)]).requires_grad_()
    lab = rgb_to_lab(rgb)
    lab.retain_grad()
    lab_to_rgb(lab).square().sum().backward()
    assert rgb.grad.isfinite().all() and lab.grad.isfinite().all()
    assert (lab.grad.abs().amax(1) > 0)[..., 1:].all()


def test_colours_out_of_gamut_lose_chroma_and_keep_lightness_and_hue() -> None:
    seeded = torch.Generator().manual_seed(0)
    lab = torch.cat([torch.rand(1, 1, 32, 32, generator=seeded) * 98 + 1,
                     torch.randn(1, 2, 32, 32, generator=seeded) * 90], 1)
    rgb = in_gamut(lab)
    assert rgb.min() >= 0 and rgb.max() <= 1
    found = rgb_to_lab(rgb)
    torch.testing.assert_close(found[:, 0], lab[:, 0], atol=0.01, rtol=0)
    whole, kept = lab[:, 1:].norm(dim=1), found[:, 1:].norm(dim=1)
    outside = ((lab_to_rgb(lab) < 0) | (lab_to_rgb(lab) > 1)).any(1)
    assert outside.any() and (kept[outside] < whole[outside]).all()
    torch.testing.assert_close(kept[~outside], whole[~outside], atol=0.01, rtol=1e-3)
    hue = (found[:, 1:] * lab[:, 1:]).sum(1) / (whole * kept)
    assert hue[kept > 5].min() > 0.9999


@pytest.mark.parametrize("kind", DERIVED)
def test_derived_inputs_do_not_depend_on_the_batch_and_fit_their_channels(kind: str) -> None:
    images = torch.rand(3, 3, 24, 20, generator=torch.Generator().manual_seed(0)) * 2 - 1
    made = DERIVED[kind].make(images)
    smaller = {"small2": 2, "small4": 4}.get(kind, 1)
    assert made.shape == (3, DERIVED[kind].channels or 3, 24 // smaller, 20 // smaller)
    assert made.abs().max() <= 1 + 1e-6
    torch.testing.assert_close(DERIVED[kind].make(images[1:2]), made[1:2])
    with torch.autocast("cpu", torch.bfloat16):     # a run's precision is that of its networks, not of its data
        assert torch.equal(DERIVED[kind].make(images), made)


def test_a_grey_photo_is_its_own_grey_input() -> None:
    photo = torch.linspace(-1, 1, 64).view(1, 1, 8, 8)
    assert torch.equal(DERIVED["grey"].make(photo), photo)
    torch.testing.assert_close(DERIVED["grey"].make(photo.expand(-1, 3, -1, -1)), photo)
    torch.testing.assert_close(DERIVED["lightness"].make(photo), DERIVED["lightness"].make(photo.expand(-1, 3, -1, -1)))


def test_edges_are_dark_where_the_image_changes_and_white_elsewhere() -> None:
    image = torch.full((1, 3, 8, 8), -1.0)
    image[..., 4:] = 1.0
    found = DERIVED["edges"].make(image)[0, 0]
    assert (found[:, 3:5] == -1).all() and (found[:, :3] == 1).all() and (found[:, 5:] == 1).all()


def test_low_resolution_loses_detail_and_keeps_the_mean() -> None:
    seeded = torch.Generator().manual_seed(0)
    image = torch.randn(1, 3, 32, 32, generator=seeded).clamp(-1, 1) * 0.5
    found = DERIVED["low4"].make(image)
    assert found.std() < 0.5 * image.std()
    torch.testing.assert_close(found.mean(), image.mean(), atol=0.01, rtol=0)
