"""ADA's groups against independent implementations, sample by sample, on the same draws."""

import contextlib
import math
from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage
import scipy.signal
import torch
from harness import digest, launch, make_set, reports
from torch import Tensor

from scalegan.augment.ada import GROUPS, MAX_P, Ada, Adaptive, Given
from scalegan.augment.bands import SYM2, amplify, filters
from scalegan.augment.blit import blit
from scalegan.augment.colour import colour
from scalegan.augment.corruption import cutout, noise
from scalegan.augment.geometry import SYM6, geometry, warp
from scalegan.divergences import DIVERGENCES
from scalegan.errors import RecipeError
from scalegan.randomness import Draws

N, P = 48, 0.7
DRAWS = Draws(5, 0, "test", torch.arange(N))
EVERY_GROUP = dict.fromkeys(GROUPS, 1.0)


def images(side: int = 16, channels: int = 3, count: int = N, dtype: torch.dtype = torch.float32) -> Tensor:
    shape = (channels, side, side)
    return Draws(1, 0, "images", torch.arange(count)).uniform("x", *shape).to(dtype) * 2 - 1


# --- the identity ---------------------------------------------------------------------------------------------------


def test_without_probability_the_images_themselves_come_back() -> None:
    x = images()
    for probability in (Given(0.0), Adaptive(0.0, 0.6, 0.01)):
        assert Ada(EVERY_GROUP, probability)(x, DRAWS, 0) is x


@pytest.mark.parametrize("group", GROUPS)
def test_each_group_is_the_identity_at_p_0_bit_for_bit(group: str) -> None:
    """As on CUDA, where p is not checked for 0."""
    for channels in (1, 3):
        x = images(channels=channels)
        assert GROUPS[group](x, DRAWS, torch.zeros(())).equal(x)


@pytest.mark.parametrize("group", GROUPS)
def test_a_sample_does_not_depend_on_its_company(group: str) -> None:
    x, few = images(), [3, 17, 40]
    together = GROUPS[group](x, DRAWS, P)
    alone = GROUPS[group](x[few], Draws(5, 0, "test", torch.tensor(few)), P)
    assert not together.equal(x)
    torch.testing.assert_close(alone, together[few], rtol=0, atol=2e-6)


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("p", [0.25, 0.6])
def test_p_is_the_probability_of_a_transformation(group: str, p: float) -> None:
    """Fraction of images that change: 1 - (1 - p)^k for k transformations. A flip counts as 1/2, a turn as 3/4, and a
    shift by up to an eighth of 8 pixels as 3/4."""
    count = 4000
    x = images(8, count=count) if group != "filter" else images(16, count=count)
    changed = (GROUPS[group](x, Draws(2, 0, "p", torch.arange(count)), p) != x).flatten(1).any(1).float().mean().item()
    expected = {"blit": 1 - (1 - p / 2) * (1 - p * 3 / 4) * (1 - p * (1 - 1 / 4)), "geometry": 1 - (1 - p) ** 4,
                "colour": 1 - (1 - p) ** 4 * (1 - p / 2), "filter": 1 - (1 - p) ** 4, "noise": p, "cutout": p}[group]
    assert changed == pytest.approx(expected, abs=0.025)


# --- each group -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [16, 24])
def test_blit_is_numpys_flip_rot90_and_pad(side: int) -> None:
    x = images(side)
    numbers = DRAWS.uniform("blit", 7).double().numpy()
    out = blit(x, DRAWS, P).numpy()
    kinds = set()
    for image, found, (flip, flips, turn, turns, move, dx, dy) in zip(x.numpy(), out, numbers):
        if flip < P and flips < 0.5:
            image = image[:, :, ::-1]
        quarters = int(turns * 4) if turn < P else 0
        image = np.rot90(image, quarters, (1, 2))
        right, down = (round((2 * d - 1) * side / 8) if move < P else 0 for d in (dx, dy))
        padded = np.pad(image, ((0, 0), (4, 4), (4, 4)), "reflect")
        assert np.array_equal(found, padded[:, 4 - down : 4 - down + side, 4 - right : 4 - right + side])
        kinds.add((flip < P and flips < 0.5, quarters, right != 0, down != 0))
    assert len(kinds) > 10


def dense_warp(image: np.ndarray, matrix: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """The same warp the long way: reflect far out, double, interpolate, halve, crop. [S, S] of one channel."""
    side, far = len(image), 3 * len(image)
    taps = np.array(SYM6) * math.sqrt(2)
    wide = np.pad(image, far, "reflect")
    for axis in (0, 1):
        wide = scipy.signal.upfirdn(taps, wide, up=2, axis=axis)
    start = 5                                    # where pixel 0's own centre of the filter comes to lie
    grid = np.arange(-20, 2 * side + 20)
    y, x = np.meshgrid(*[(grid + 0.5) / 2 - side / 2] * 2, indexing="ij")
    sx, sy = np.einsum("ij,jyx->iyx", matrix, np.stack([x - shift[0], y - shift[1]]))
    places = [2 * (s + side / 2 + far) - 0.5 + start for s in (sy, sx)]
    fine = scipy.ndimage.map_coordinates(wide, places, order=1)
    for axis in (0, 1):
        fine = scipy.signal.upfirdn(taps[::-1] / 2, fine, axis=axis)
    first = 20 + 6                               # of pixel 0: its last tap
    return fine[first : first + 2 * side : 2, first : first + 2 * side : 2]


def rotation(angle: float) -> np.ndarray:
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def test_geometry_is_a_warp_between_doubled_images() -> None:
    """Away from the border, where we reflect the doubled image and SciPy the image itself."""
    side = 24
    smooth = torch.nn.functional.avg_pool2d(images(side, 1, dtype=torch.float64), 3, 1, 1)
    chances = DRAWS.uniform("geometry", 7).double().numpy()
    normals = DRAWS.normal("geometry", 4).double().numpy()
    out = geometry(smooth, DRAWS, P).numpy()
    both = 1 - math.sqrt(1 - P)
    seen = np.zeros(5)
    for index in range(N):
        scaled, before, turn1, aspect, after, turn2, moved = chances[index]
        size, ratio, dx, dy = normals[index]
        chosen = np.array([scaled < P, before < both, aspect < P, after < both, moved < P])
        seen += chosen
        inverse = np.eye(2)
        if chosen[0]:
            inverse = inverse / 2 ** (0.2 * size)
        if chosen[1]:
            inverse = inverse @ rotation((2 * turn1 - 1) * math.pi)
        if chosen[2]:
            inverse = inverse @ np.diag([2 ** (0.2 * ratio), 2 ** (-0.2 * ratio)])
        if chosen[3]:
            inverse = inverse @ rotation((2 * turn2 - 1) * math.pi)
        shift = np.array([dx, dy]) * side / 8 if chosen[4] else np.zeros(2)
        expected = dense_warp(smooth[index, 0].numpy(), inverse, shift)
        centre = np.mgrid[0:side, 0:side].reshape(2, -1)[::-1].T - (side - 1) / 2
        source = (centre - shift) @ inverse.T
        inner = (np.abs(source).max(1) < side / 2 - 7).reshape(side, side)
        assert inner.sum() > 20
        np.testing.assert_allclose(out[index, 0][inner], expected[inner], atol=1e-5)
    assert seen.min() > 5


def test_warps_that_move_pixels_whole_move_them_exactly() -> None:
    x = images(32, dtype=torch.float64)
    still = torch.eye(2, dtype=torch.float64).expand(N, 2, 2)
    moved = warp(x, still, torch.tensor([3.0, -2.0], dtype=torch.float64).expand(N, 2))
    torch.testing.assert_close(moved[:, :, 8:-8, 8:-8], x.roll((-2, 3), (2, 3))[:, :, 8:-8, 8:-8], rtol=0, atol=1e-9)


def test_a_quarter_turn_is_rot90() -> None:
    """On smooth images, because Symlet 6 is not quite symmetric."""
    along = torch.linspace(-1, 1, 32, dtype=torch.float64)
    x = (along[:, None] * 2 + along.cos() * along[:, None].square())[None, None]
    turn = torch.from_numpy(rotation(math.pi / 2))[None]
    found = warp(x, turn, torch.zeros(1, 2, dtype=torch.float64))
    torch.testing.assert_close(found[:, :, 8:-8, 8:-8], x.rot90(1, (2, 3))[:, :, 8:-8, 8:-8], rtol=0, atol=0.02)


def test_what_is_scaled_goes_on_as_its_mirror_image() -> None:
    """Shrunk by two, a ramp falls outside its borders as it rises inside."""
    ramp = torch.linspace(-1, 1, 33, dtype=torch.float64).expand(1, 1, 33, 33)
    found = warp(ramp, 2 * torch.eye(2, dtype=torch.float64)[None], torch.zeros(1, 2, dtype=torch.float64))[0, 0, 16]
    torch.testing.assert_close(found[10:23], torch.linspace(-0.75, 0.75, 13, dtype=torch.float64), rtol=0, atol=0.02)
    torch.testing.assert_close(found, -found.flip(0), rtol=0, atol=0.1)
    assert found[2] == pytest.approx(-0.25, abs=0.06) and found[-3] == pytest.approx(0.25, abs=0.06)


def test_colour_is_a_product_of_matrices() -> None:
    x = images()
    chances, normals = DRAWS.uniform("colour", 7).double().numpy(), DRAWS.normal("colour", 3).double().numpy()
    out = colour(x, DRAWS, P).double().numpy()
    v = np.ones(3) / math.sqrt(3)
    seen = np.zeros(5)
    for image, found, chance, (b, c, s) in zip(x.double().numpy(), out, chances, normals):
        chosen = chance[:5] < P
        pixels = image.reshape(3, -1)
        if chosen[0]:
            pixels = pixels + 0.2 * b
        if chosen[1]:
            pixels = pixels * 2 ** (0.5 * c)
        if chosen[2] and chance[5] < 0.5:
            pixels = (np.eye(3) - 2 * np.outer(v, v)) @ pixels
        if chosen[3]:  # Rodrigues
            angle = (2 * chance[6] - 1) * math.pi
            pixels = pixels * math.cos(angle) + np.cross(v, pixels.T).T * math.sin(angle) \
                + np.outer(v, v @ pixels) * (1 - math.cos(angle))
        if chosen[4]:
            grey = np.outer(v, v @ pixels)
            pixels = grey + (pixels - grey) * 2 ** s
        np.testing.assert_allclose(found.reshape(3, -1), pixels, atol=1e-5, rtol=1e-5)
        seen += chosen
    assert seen.min() > 10


def test_colour_of_grey_images_is_brightness_contrast_and_luma_flip() -> None:
    grey = images(channels=1)
    draws = DRAWS
    chances, normals = draws.uniform("colour", 7), draws.normal("colour", 3)
    chosen = chances[:, :3] < P
    expected = grey[:, 0] + torch.where(chosen[:, 0], 0.2 * normals[:, 0], 0)[:, None, None]
    expected = expected * torch.where(chosen[:, 1], 2 ** (0.5 * normals[:, 1]), 1)[:, None, None]
    expected = expected * torch.where(chosen[:, 2] & (chances[:, 5] < 0.5), -1, 1)[:, None, None]
    torch.testing.assert_close(colour(grey, draws, P)[:, 0], expected)


def test_bands_share_the_spectrum() -> None:
    """They sum to the identity, and the passband of each is that of the paper's products of H(z)."""
    bands = filters()
    assert bands.shape == (4, 43)
    np.testing.assert_allclose(bands.sum(0), np.eye(43)[21], atol=1e-12)
    omega = np.linspace(0, np.pi, 50)
    half = lambda w: np.abs(np.polyval(SYM2, np.exp(1j * w))) ** 2 / 2  # noqa: E731 -- |H|^2 / 2
    low = [half(omega), half(2 * omega), half(4 * omega)]
    expected = [low[0] * low[1] * low[2], low[0] * low[1] * (1 - low[2]), low[0] * (1 - low[1]), 1 - low[0]]
    for band, response in zip(bands, expected):
        found = np.cos(np.outer(omega, np.arange(-21, 22))) @ band
        np.testing.assert_allclose(found, response, atol=1e-9)


def test_filtering_is_a_convolution_with_the_amplified_bands() -> None:
    side = 32
    x = images(side, 3, dtype=torch.float64)
    chosen = (DRAWS.uniform("bands", 4) < P).numpy()
    strength = DRAWS.normal("bands", 4).double().numpy()
    out = amplify(x, DRAWS, P).numpy()
    power = np.array([10, 1, 1, 1]) / 13
    for index in range(N):
        gains = np.ones(4)
        for band in range(4):
            alone = np.ones(4)
            alone[band] = 2 ** strength[index, band] if chosen[index, band] else 1
            gains *= alone / np.sqrt((power * alone**2).sum())
        taps = gains @ filters()
        padded = np.pad(x[index, 1].numpy(), 21, "reflect")
        expected = scipy.signal.convolve2d(padded, np.outer(taps, taps), "valid")
        np.testing.assert_allclose(out[index, 1], expected, atol=1e-5)


def test_noise_is_white_and_of_the_drawn_strength() -> None:
    x = images(32)
    added = noise(x, DRAWS, P) - x
    for image, found, chance, level, white in zip(x.double().numpy(), noise(x, DRAWS, P).double().numpy(),
                                                  DRAWS.uniform("noise").tolist(),
                                                  DRAWS.normal("noise/level").tolist(),
                                                  DRAWS.normal("noise", 3, 32, 32).double().numpy()):
        np.testing.assert_allclose(found, image + (abs(level) * 0.1 if chance < P else 0) * white, atol=1e-6)
    chosen, level = DRAWS.uniform("noise") < P, DRAWS.normal("noise/level").abs() * 0.1
    torch.testing.assert_close(added.flatten(1).std(1), torch.where(chosen, level, 0), rtol=0.08, atol=1e-7)
    assert abs(added.mean() / added.std()) < 0.03


def test_cutout_is_a_square_hole() -> None:
    side = 20
    x = images(side)
    out = cutout(x, DRAWS, P).numpy()
    for image, found, (chance, cx, cy) in zip(x.numpy(), out, DRAWS.uniform("cutout", 3).double().numpy()):
        expected = image.copy()
        for row in range(side):
            for column in range(side):
                if chance < P and abs((column + 0.5) / side - cx) < 0.25 and abs((row + 0.5) / side - cy) < 0.25:
                    expected[:, row, column] = 0
        assert np.array_equal(found, expected)


# --- gradients ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("group", GROUPS)
def test_gradients_reach_the_image_once_and_twice(group: str) -> None:
    x = images(6, count=1, dtype=torch.float64).requires_grad_()
    draws = Draws(5, 0, "test", torch.tensor([4]))
    assert not GROUPS[group](x, draws, 1.0).equal(x)
    assert torch.autograd.gradcheck(lambda x: GROUPS[group](x, draws, 1.0), x, atol=1e-6)
    curved = lambda x: GROUPS[group](x, draws, 1.0).pow(3).sum()  # noqa: E731 -- a second derivative that is not 0
    assert torch.autograd.gradgradcheck(curved, x, atol=1e-5)


# --- p --------------------------------------------------------------------------------------------------------------


def test_p_moves_with_the_mean_sign_of_four_updates_and_stays_inside() -> None:
    p = Adaptive(0.0, 0.6, 0.01)
    seen = []
    for sign in [1.0] * 6 + [0.2] * 2 + [0.0] * 4 + [1.0] * 200 + [-1.0] * 400:
        p.advance(sign=torch.tensor(sign))
        seen.append(p.p.item())
    assert seen[:4] == [0, 0, 0, pytest.approx(0.04)]
    assert seen[7] == pytest.approx(0.04)  # the mean of 1, 1, 0.2, 0.2 is the target
    assert seen[11] == 0
    assert max(seen) == pytest.approx(MAX_P) and MAX_P == 0.85
    assert seen[-1] == 0 and min(seen) == 0


SMALL = """extends: [_base/dcgan]
data: {{path: "{data}", resolution: 16, workers: 0, block_records: 4, window_blocks: 4}}
model: {{width: 16, latent_dim: 8, norm_group: 10}}
optimizer: {{G: {{lr: 2e-4}}, D: {{lr: 2e-3}}}}
game: {{penalties: {{r1: {{gamma: 0.01, every: 4}}}}}}
batch_size: 40
micro_batch_size: 10
lanes: 4
precision: fp32
engine: {{reduction: tree}}
augment: {{name: ada, pipe: bgcfnc, adapt_images: 4000}}
total_images: 2000
log: {{every_images: 400, tensorboard: false}}
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    (folder / "small.yaml").write_text(SMALL.format(data=make_set(folder / "set", (100, 100))))
    return folder / "small.yaml"


@pytest.mark.slow
def test_p_rises_on_200_images(small: Path, tmp_path: Path) -> None:
    launch(1, f"recipe={small}", f"run_dir={tmp_path}")
    seen = [row["loss/D/augment_p"] for row in reports(tmp_path)]
    assert seen[0] < 0.15 and seen[-1] > 0.25
    assert all(0 <= p <= MAX_P for p in seen)
    assert {"loss/D/real_sign", "loss/D.r1/r1"} <= reports(tmp_path)[-1].keys()


@pytest.mark.slow
def test_p_is_the_same_on_any_ranks_and_after_a_resume(small: Path, tmp_path: Path) -> None:
    """From p = 0.4, resuming between two steps of p."""
    common = [f"recipe={small}", "augment.p=0.4", "total_images=320"]
    launch(1, *common, f"run_dir={tmp_path / 'straight'}")
    for ranks, run in ((2, "two"), (4, "four")):
        launch(ranks, *common, f"run_dir={tmp_path / run}")
        assert digest(tmp_path / run) == digest(tmp_path / "straight")
    for ranks, images_seen in ((2, 200), (1, 320)):
        launch(ranks, *common, f"run_dir={tmp_path / 'resumed'}", f"total_images={images_seen}")
    assert digest(tmp_path / "resumed") == digest(tmp_path / "straight")
    launch(1, *common, f"run_dir={tmp_path / 'other'}", "augment.p=0.3")
    assert digest(tmp_path / "other") != digest(tmp_path / "straight")


@pytest.mark.slow
def test_a_given_p_follows_its_schedule(small: Path, tmp_path: Path) -> None:
    schedule = "augment.p={kind: linear, start: 0, end: 0.8, images: 400}"
    launch(1, f"recipe={small}", f"run_dir={tmp_path}", "augment.target=null", schedule, "total_images=400",
           "log.every_images=200")
    seen = [row["loss/D/augment_p"] for row in reports(tmp_path)]
    assert seen == pytest.approx([0.16, 0.56])  # means of what held before each batch


@pytest.mark.parametrize("wrong, says", [
    (["augment.p=0.9"], "augment.p"),
    (["augment.p={start: 0, end: 0.5, images: 100}"], "augment.target=null"),
    (["game.loss=wasserstein"], "augment.target"),
    (["game.loss=least_squares"], "game.a=-1 and game.b=1"), (["game.loss=f_kl"], "D is above 0 even where"),
    (["game={name: consensus, loss: wasserstein}", "data.labels=none"], "which means nothing"),
    (["augment.pipe=bgx"], "augment.pipe"),
    (["augment.name=adda"], "did you mean 'ada'"),
])
def test_what_cannot_be_is_said(wrong: list[str], says: str, small: Path) -> None:
    from scalegan.config import loading

    with pytest.raises(RecipeError, match=says) as caught:
        loading.load([f"recipe={small}", *wrong])
    assert "\n" not in str(caught.value)


def test_a_loss_goes_with_an_adaptive_p_only_if_its_d_is_0_where_it_cannot_tell(small: Path) -> None:
    from scalegan.config import loading

    for name, divergence in DIVERGENCES.items():
        undecided = divergence.optimum(torch.tensor(1.0)).item()
        with contextlib.nullcontext() if undecided == 0 else pytest.raises(RecipeError, match="tracks the sign"):
            loading.load([f"recipe={small}", f"game.loss=f_{name}"])
    loading.load([f"recipe={small}", "game={loss: least_squares, a: -1, b: 1, c: 0}"])


def test_published_pipes_have_their_groups(small: Path) -> None:
    from scalegan.config import loading

    pipe = loading.load([f"recipe={small}", "augment.pipe=bgc"]).augment.pipe
    assert (pipe.blit, pipe.geometry, pipe.colour, pipe.filter, pipe.noise, pipe.cutout) == (1, 1, 1, 0, 0, 0)
    assert loading.load([f"recipe={small}", "augment.pipe={colour: 0.5, cutout: 1}"]).augment.pipe.colour == 0.5


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("group", GROUPS)
def test_a_gpu_gives_the_cpus_images_and_the_same_gradient_twice(group: str) -> None:
    x, p = images(32), torch.tensor(P)
    there = x.cuda().requires_grad_()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        found = GROUPS[group](there, DRAWS.to(there.device), p.cuda())
        torch.testing.assert_close(found.detach().cpu(), GROUPS[group](x, DRAWS, p), rtol=0, atol=1e-4)
        once, again = (torch.autograd.grad(found.square().sum(), there, retain_graph=True)[0] for _ in range(2))
        assert once.equal(again)
    finally:
        torch.use_deterministic_algorithms(False)
