"""Concept vectors against the closed form, SeFa and GANSpace against what defines them, and files of directions."""

import json
import math
from pathlib import Path

import harness
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file
from small_generators import GENERATORS, generator
from torch import Tensor, nn

from scalegan.checkpoints import exports
from scalegan.commands import directions as verb
from scalegan.data.spec import Spec
from scalegan.errors import UserError
from scalegan.latents import concepts, directions, unsupervised
from scalegan.latents.concepts import LabelledImages
from scalegan.latents.space import Space
from scalegan.probing import classifier

DIM, SIDE = 12, 8


class Linear(nn.Module):
    """G(z) = Wz, an image of 8 px around mid-grey."""

    latent, latent_dim = "normal", DIM

    def __init__(self) -> None:
        super().__init__()
        seeded = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.linalg.qr(torch.randn(3 * SIDE**2, DIM, generator=seeded)).Q)
        self.about = {"spec": {"kind": "image", "shape": [3, SIDE, SIDE]}, "images": 0, "network": "G"}
        self.parts = {"G": self}

    def forward(self, z: Tensor, labels: Tensor | None = None, psi: float = 1.0) -> Tensor:
        return (z @ self.weight.T).unflatten(1, (3, SIDE, SIDE))

    def encode(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ self.weight


class Inverse(nn.Module):
    def __init__(self, generator: Linear) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, images: Tensor) -> Tensor:
        return self.generator.encode(images)


@pytest.fixture
def space() -> Space:
    return Space(Linear().eval().requires_grad_(False))


NORMAL = F.normalize(torch.arange(1.0, DIM + 1) - DIM / 3, dim=0)     # of the plane on whose sides labels differ


def labelled(space: Space, count: int) -> LabelledImages:
    """Images of G, as files would have them, and on which side of the plane their latents lie."""
    points, _ = space.drawn(count, "data")
    side = points @ NORMAL > 0
    pixels = (space.images(points) * 127.5 + 127.5).round().clamp(0, 255).byte()
    return LabelledImages(pixels, torch.stack([side, ~side], 1).byte(), ("right", "left"))


@pytest.mark.parametrize("shares", [lambda x: (x > 0).double(), lambda x: (x > 1.2).double(),
                                    lambda x: (3 * x).sigmoid()],
                         ids=["of each side", "of a tenth", "of probabilities"])
def test_a_concept_vector_is_normal_to_the_plane_that_divides_normal_latents(shares: object, space: Space) -> None:
    points, _ = space.drawn(8192, "test")
    found, left_out = concepts.concept_vectors(points, shares(points @ NORMAL)[:, None], ["x"])
    assert F.cosine_similarity(found["x"].float(), NORMAL, dim=0) > 0.99 and not left_out


def test_through_an_encoder(space: Space) -> None:
    data = labelled(space, 2000)
    points = concepts.encoded(Inverse(space.generator), data, DIM + 2)
    assert (points[:, DIM:] == 0).all()         # of a class, say, that the encoder leaves out
    found, _ = concepts.concept_vectors(points[:, :DIM], data.shares, data.names)
    assert F.cosine_similarity(found["right"].float(), NORMAL, dim=0) > 0.97
    torch.testing.assert_close(found["left"], -found["right"])


@pytest.mark.slow
def test_an_average_is_encoded_by_the_same_average_of_the_encoder(tiny_set: Path, tmp_path: Path) -> None:
    """Both learn together; of the run's main average, an encoder would give latents of another generator."""
    (tmp_path / "aae.yaml").write_text(f"""data: {{path: "{tiny_set}", resolution: 16}}
model: {{name: mlp, hidden: 12, layers: 2, latent_dim: 3}}
game: {{name: aae, hidden: 10}}
emas: {{short: {{half_life_images: 1}}}}
""" + harness.SHORT_RUN.replace("{{", "{").replace("}}", "}"))
    harness.launch(1, f"recipe={tmp_path / 'aae.yaml'}", f"run_dir={tmp_path / 'run'}")
    data = concepts.labelled_images(str(tiny_set), Spec("image", (3, 16, 16)))
    for ema in (None, "short"):
        out, asked = tmp_path / f"{ema}.safetensors", [] if ema is None else ["--ema", ema]
        assert verb.main([str(tmp_path / "run"), "--data", str(tiny_set), "--out", str(out), *asked]) == 0
        points = concepts.encoded(exports.load(tmp_path / "run", "encode", ema), data, 3)
        expected, _ = concepts.concept_vectors(points, data.shares, data.names)
        found = load_file(out)["vectors"]
        torch.testing.assert_close(found, F.normalize(torch.stack(list(expected.values())).to(found)))


@pytest.mark.slow
@pytest.mark.parametrize("classes", [False, True], ids=["attributes", "classes"])
def test_by_a_classifier_of_samples(classes: bool, space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifier, "_SHOWN", 6000)
    data = labelled(space, 1000)
    if classes:
        data = LabelledImages(data.pixels, data.labels.argmax(1), data.names)
    points, labels = space.drawn(2000, "test")
    found, _ = concepts.concept_vectors(points, concepts.of_samples(space, points, labels, data), data.names)
    assert F.cosine_similarity(found["right"].float(), NORMAL, dim=0) > 0.95


def test_labels_of_too_few_samples_are_left_out() -> None:
    shares = torch.zeros(100, 3)
    shares[:9, 0], shares[:91, 1], shares[:50, 2] = 1, 1, 1
    found, left_out = concepts.concept_vectors(torch.randn(100, 4), shares, ["rare", "usual", "even"])
    assert (list(found), left_out) == (["even"], ["rare", "usual"])


@pytest.mark.parametrize("name", GENERATORS)
def test_sefa_finds_the_directions_that_change_the_first_layer_most(name: str) -> None:
    """Of every family and game; each is orthogonal to those before."""
    space = Space(generator(name))
    found = torch.stack(list(unsupervised.sefa(space).values())).float()
    weights = space.generator.latent_weights()
    assert weights.shape[1] == space.dim and 1 <= len(found) <= 20
    torch.testing.assert_close(found @ found.T, torch.eye(len(found)), rtol=0, atol=1e-5)
    change = (weights @ found.T).norm(dim=0)
    assert (change[1:] <= change[:-1] * 1.0001).all()
    others = F.normalize(torch.randn(200, space.dim), dim=1)
    assert (weights @ others.T).norm(dim=0).max() <= change[0] * 1.0001


def test_latent_weights_are_those_of_the_first_layer() -> None:
    """Moving z within the null space of A changes nothing."""
    torch.manual_seed(0)
    network = generator("R3GAN")
    weights = network.latent_weights()
    tall = torch.linalg.svd(weights).Vh
    z = torch.randn(1, network.latent_dim)
    null = tall[len(weights):]
    assert len(null) == network.latent_dim - len(weights) > 0
    torch.testing.assert_close(network(z + 5 * null[:1]), network(z), rtol=0, atol=1e-4)
    assert (network(z + 5 * tall[:1]) - network(z)).abs().max() > 1e-2


def test_ganspace_of_a_linear_first_layer_and_normal_z_finds_what_sefa_does() -> None:
    space = Space(generator("DCGAN"))
    weight = space.generator.stem[0].weight
    weight *= torch.linspace(3, 1, len(weight)).view(-1, 1, 1, 1)
    points, _ = space.drawn(8192, "test")
    first, other = (torch.stack(list(found.values()))[:3] for found in
                    (unsupervised.sefa(space), unsupervised.ganspace(space, points)))
    assert F.cosine_similarity(first, other).min() > 0.95


def test_ganspace_of_styles_are_their_principal_components() -> None:
    space = Space(generator("StyleGAN2"))
    points, _ = space.drawn(3000, "test")
    found = directions.of(space, "test", unsupervised.ganspace(space, points), points)
    torch.testing.assert_close(found.vectors @ found.vectors.T, torch.eye(len(found.vectors)), rtol=0, atol=1e-5)
    spread = torch.linalg.svdvals(points.double() - points.double().mean(0)) / math.sqrt(len(points) - 1)
    torch.testing.assert_close(found.deviations.double(), spread[: len(found.deviations)], rtol=1e-3, atol=1e-6)


def test_a_step_is_measured_in_standard_deviations(space: Space, tmp_path: Path) -> None:
    points = space.drawn(5000, "test")[0] * 3
    directions.of(space, "test", {"x": 40 * NORMAL}, points).save(tmp_path / "x.safetensors")
    step = directions.read(tmp_path / "x.safetensors").step("x", -2.0)
    torch.testing.assert_close(step, -2 * 3 * NORMAL, rtol=0.05, atol=0.05)


def _with_header(path: Path, **changes: object) -> None:
    header = json.loads(_metadata(path)["scalegan_directions"]) | changes
    save_file(load_file(path), path, metadata={"scalegan_directions": json.dumps(header)})


def _metadata(path: Path) -> dict[str, str]:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return file.metadata()


def _with_tensor(path: Path, value: float) -> None:
    save_file(load_file(path) | {"vectors": torch.full((1, DIM), value)}, path, metadata=_metadata(path))


DAMAGES = {
    "a picture": (lambda path: Image.new("RGB", (4, 4)).save(path, format="PNG"), "is not a file that `scalegan"),
    "half of it": (lambda path: path.write_bytes(path.read_bytes()[:90]), "is not a file that"),
    "other tensors": (lambda path: save_file({"x": torch.zeros(1)}, path), "is not a file that"),
    "a folder": (lambda path: path.unlink() or path.mkdir(), "is not a regular file"),
    "nothing": (Path.unlink, "does not exist"),
    "a name too many": (lambda path: _with_header(path, names=["x", "y"]), "differ in number"),
    "no number of images": (lambda path: _with_header(path, images="many"), "images"),
    "NaN": (lambda path: _with_tensor(path, math.nan), "not finite"),
    "other weights": (lambda path: _with_header(path, digest="0" * 64), "run `scalegan directions RUN` again"),
    "another space": (lambda path: _with_header(path, space="w"), "other weights"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_file_that_does_not_fit_is_refused_in_one_line(damage: str, space: Space, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    directions.of(space, "test", {"x": NORMAL}, space.drawn(100, "test")[0]).save(path)
    directions.check_fit(directions.read(path), path, space, "RUN")
    change, says = DAMAGES[damage]
    change(path)
    with pytest.raises(UserError, match=says) as error:
        directions.check_fit(directions.read(path), path, space, "RUN")
    assert str(path) in str(error.value) and "\n" not in str(error.value)
