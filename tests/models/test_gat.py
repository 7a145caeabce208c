"""GAT: parameter counts, parity with the reference by golden numbers, and what training relies on."""

import zlib

import pytest
import torch
from models.test_r3gan import keyed

from scalegan import config
from scalegan.data.spec import Spec
from scalegan.errors import RecipeError
from scalegan.interop import gat_discriminator, gat_generator
from scalegan.models import families
from scalegan.models.gat import SIZES, Discriminator, Generator

# Trained parameters of hse1032/GAT's networks for latents [4, 32, 32] and 1,000 classes, without G's embedding of an
# image, which is multiplied by zero, and without D's map to the features of another network.
COUNTS = {("S", 2): (29_256_512, 32_556_160), ("S", 8): (29_626_112, 32_924_800), ("B", 2): (116_545_088, 97_135_360),
          ("B", 4): (116_692_736, 97_282_816), ("L", 2): (408_469_024, 314_904_544),
          ("XL", 2): (601_936_640, 459_252_544)}


def parameters(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("size, patch", COUNTS)
def test_parameter_counts_are_the_references(size: str, patch: int) -> None:
    sizes = dict(zip(("depth", "width", "heads"), SIZES[size]), patch=patch, num_classes=1000)
    with torch.device("meta"):
        networks = Generator((4, 32, 32), **sizes), Discriminator((4, 32, 32), **sizes)
    assert tuple(parameters(network) for network in networks) == COUNTS[size, patch]


# --- parity: state dicts in the reference's names, golden numbers from hse1032/GAT in fp64 --------------------------

CLASSES, LEVELS, DEPTH, WIDTH, HEAD, SIDE, PATCH, CHANNELS = 5, 4, 8, 24, 12, 8, 2, 4
TOKENS, HIDDEN = (SIDE // PATCH) ** 2, 2 * 8 * WIDTH // 3


def block(prefix: str) -> dict[str, tuple[int, ...]]:
    return {f"{prefix}.attn.qkv.weight": (3 * WIDTH, WIDTH), f"{prefix}.attn.qkv.bias": (3 * WIDTH,),
            f"{prefix}.attn.q_norm.weight": (HEAD,), f"{prefix}.attn.k_norm.weight": (HEAD,),
            f"{prefix}.attn.proj.weight": (WIDTH, WIDTH), f"{prefix}.attn.proj.bias": (WIDTH,),
            f"{prefix}.mlp.w12.weight": (HIDDEN, WIDTH), f"{prefix}.mlp.w12.bias": (HIDDEN,),
            f"{prefix}.mlp.w3.weight": (WIDTH, HIDDEN // 2), f"{prefix}.mlp.w3.bias": (WIDTH,)}


def linear(name: str, outputs: int, inputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def generator_state(latent: int = 6) -> dict[str, torch.Tensor]:
    shapes = {"x_embedder.proj.weight": (WIDTH, CHANNELS, PATCH, PATCH), "x_embedder.proj.bias": (WIDTH,),
              "pos_embed": (1, TOKENS, WIDTH), "y_embedder.embedding_table.weight": (CLASSES, latent),
              **linear("latent_embedder.0", WIDTH, 2 * latent), **linear("latent_embedder.2", WIDTH, WIDTH),
              "w_avg": (CLASSES, WIDTH), "feat_rope.freqs_cos": (TOKENS, HEAD)}
    for i in range(DEPTH):
        shapes |= block(f"blocks.{i}") | linear(f"blocks.{i}.adaLN_modulation.1", 4 * WIDTH, WIDTH)
    for i in range(LEVELS):
        shapes |= linear(f"final_layers.{i}.linear", CHANNELS * PATCH**2, WIDTH)
        shapes |= linear(f"final_layers.{i}.adaLN_modulation.1", WIDTH, WIDTH)
    return filled(shapes)


def discriminator_state(features: int = 10) -> dict[str, torch.Tensor]:
    shapes = {"x_embedder.proj.weight": (WIDTH, LEVELS * CHANNELS, PATCH, PATCH), "x_embedder.proj.bias": (WIDTH,),
              "pos_embed": (1, TOKENS, WIDTH), "cls_token": (1, 1, WIDTH),
              "y_embedder.embedding_table.weight": (CLASSES, features),
              **linear("y_embedder.latent_embedder.0", features, features),
              **linear("y_embedder.latent_embedder.2", features, features),
              "final_layer.0.weight": (WIDTH,), **linear("final_layer.1", features, WIDTH),
              **linear("proj.0", 7, WIDTH), **linear("proj.2", 7, 7), **linear("proj.4", 3, 7)}
    for i in range(DEPTH):
        shapes |= block(f"blocks.{i}") | {f"blocks.{i}.{name}": (WIDTH,) for name in
                                          ("norm1.weight", "norm2.weight", "ls_attn", "ls_mlp")}
    return filled(shapes)


def filled(shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """Weights that matter; those of layers that learn slowly are a hundred times as large."""
    return {name: (30 if "latent_embedder" in name else 0.3) * keyed(name, *shape) for name, shape in shapes.items()}


def figures(out: torch.Tensor) -> list[float]:
    return [value.item() for value in (out.mean(), out.std(), out.flatten()[0], out.flatten()[-1])]


LABELS = torch.tensor([0, 2, 1, 4])
# `figures` of the reference's outputs with these state dicts, in fp64; its tables of positions are in fp32.
GOLDEN = {"levels": [0.37103145287, 2.8597390151, -1.8833531575, 9.1410182102],
          "truncated": [0.072479580108, 3.3402986765, -2.2400132347, 7.0804613791],
          "logits": [-0.21440029346, 0.44520307112, -0.72346661136, 0.087554507177]}


def test_the_generator_computes_what_the_reference_does() -> None:
    generator, z = gat_generator(generator_state()), keyed("z", 4, 6)
    assert not generator.training and generator.levels == LEVELS and generator.latent_dim == 6
    levels = generator(z, LABELS, levels=True)
    assert figures(levels.transpose(0, 1)) == pytest.approx(GOLDEN["levels"], rel=1e-6)
    assert torch.equal(generator(z, LABELS), levels[:, -1])
    assert figures(generator(z, LABELS, psi=0.7)) == pytest.approx(GOLDEN["truncated"], rel=1e-6)


def test_the_discriminator_computes_what_the_reference_does() -> None:
    logits = gat_discriminator(discriminator_state())(keyed("x", 4, LEVELS * CHANNELS, SIDE, SIDE), LABELS)
    assert figures(logits) == pytest.approx(GOLDEN["logits"], rel=1e-6)


# --- what training relies on ----------------------------------------------------------------------------------------

SMALL = dict(patch=2, depth=4, width=24, heads=2)


def by_name(name: str) -> torch.Generator:
    return torch.Generator().manual_seed(zlib.crc32(name.encode()))


def small(shape: tuple[int, ...] = (3, 8, 8), outputs: int = 2, **labels: object) -> tuple[Generator, Discriminator]:
    """With initial weights, and biases that are not zero."""
    networks = (Generator(shape, outputs=outputs, latent_dim=6, **SMALL, **labels),
                Discriminator(shape, levels=outputs, label_dim=10, **SMALL, **labels))
    for network in networks:
        network.initialise(by_name)
        for name, parameter in network.named_parameters():
            parameter.data += 0.05 * keyed(name, *parameter.shape).float()
    return networks


CONDITIONS = {"none": ({}, None), "classes": ({"num_classes": 3}, torch.tensor([0, 1, 2, 0, 1])),
              "attributes": ({"num_classes": 3, "multilabel": True}, torch.eye(3)[[0, 1, 2, 0, 1]]),
              "vectors": ({"num_classes": 3, "multilabel": True}, torch.linspace(-1, 1, 15).reshape(5, 3))}


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("shape", [(3, 8, 8), (4, 8, 8), (1, 4, 12)], ids=["image", "latent", "wide"])
def test_every_sample_depends_on_its_own_inputs_alone(shape: tuple[int, ...], condition: str) -> None:
    keys, labels = CONDITIONS[condition]
    generator, discriminator = small(shape, **keys)
    z = keyed("z", 5, 6).float()
    images, one = generator(z, labels), generator(z[:1], None if labels is None else labels[:1])
    assert images.shape == (5, *shape) and torch.allclose(images[:1], one, atol=1e-5)
    logits = discriminator(images, labels)
    assert logits.shape == (5,) and discriminator.per_sample
    assert torch.allclose(logits[:1], discriminator(one, None if labels is None else labels[:1]), atol=1e-5)
    if labels is not None:
        assert not torch.allclose(generator(z, labels.roll(1, 0)), images, atol=1e-3)
        assert not torch.allclose(discriminator(images, labels.roll(1, 0)), logits, atol=1e-3)


def test_a_plain_sample_stands_for_all_levels() -> None:
    _, discriminator = small()
    x = keyed("x", 2, 3, 8, 8).float()
    assert torch.equal(discriminator(x), discriminator(torch.cat([x, x], 1)))


def test_noise_tokens_take_the_place_of_z() -> None:
    for keys, labels in (({}, None), CONDITIONS["classes"]):
        generator = Generator((3, 8, 8), outputs=1, noise_tokens=True, **SMALL, **keys)
        assert generator.latent_dim == 3 * 8 * 8
        z = keyed("noise", 5, 192).float()
        whole = generator(z, labels)
        # attention mixes tokens, but a far patch changes less than its own
        z[:, 0] += 1
        change = (generator(z, labels) - whole).abs()
        assert change[:, :, :2, :2].mean() > 2 * change[:, :, 4:, 4:].mean() > 0


def test_averages_of_w_are_those_of_each_class_and_truncation_moves_towards_them() -> None:
    generator, _ = small(num_classes=3)
    z, labels = keyed("z", 8, 6).float(), torch.tensor([0, 0, 1, 1, 1, 0, 0, 1])
    generator.train()
    for part in (slice(0, 4), slice(4, 8)):         # two micro-batches
        generator(z[part], labels[part])
    mapping = generator.mapping
    mapping.advance(**mapping.drain())
    with torch.no_grad():
        w = mapping.eval()(z, labels)
    for label in (0, 1):
        assert torch.allclose(mapping.w_avg[label], 0.005 * w[labels == label].mean(0), atol=1e-6)
    assert not mapping.w_avg[2].any()
    mapping.w_avg.copy_(keyed("w_avg", *mapping.w_avg.shape))
    assert torch.allclose(mapping(z, labels, psi=0.0), mapping.w_avg[labels])


def test_guidance_moves_away_from_the_mean_over_classes() -> None:
    mapping = small(num_classes=3)[0].mapping.eval()
    z, labels = keyed("z", 4, 6).float(), torch.tensor([0, 1, 2, 0])
    null = torch.stack([mapping(z, torch.full((4,), label)) for label in range(3)]).mean(0)
    w = mapping(z, labels)
    assert torch.allclose(mapping(z, labels, guidance=2.0), null + 2 * (w - null), atol=1e-5)
    with pytest.raises(ValueError, match="has none; leave it at 1"):
        small()[0](z, guidance=2.0)


def test_fused_attention_computes_the_same_and_the_other_can_be_differentiated_twice() -> None:
    _, discriminator = small()
    x = keyed("x", 3, 3, 8, 8).float().requires_grad_()
    plain = discriminator(x)
    slope, = torch.autograd.grad(plain.sum(), x, create_graph=True)
    second = torch.autograd.grad(slope.square().sum(), list(discriminator.parameters()), allow_unused=True)
    assert all(g.isfinite().all() for g in second if g is not None) and any(g is not None and g.any() for g in second)
    families.fuse_attention(discriminator)
    assert torch.allclose(discriminator(x), plain, atol=1e-5)


def test_no_parameter_is_without_an_axis_and_blocks_are_modules_of_their_own() -> None:
    for network in small(num_classes=3):
        assert all(parameter.dim() for parameter in network.parameters())
        assert isinstance(network.blocks, torch.nn.ModuleList) and len(network.blocks) == 4


@pytest.mark.parametrize("keys, says", [
    (dict(patch=8), "patches of 8 do not divide samples of 12 x 4"),
    (dict(heads=5), "model.width=24 is not a multiple"),
    (dict(outputs=5), "model.outputs=5 is more than model.depth=4")])
def test_sizes_that_do_not_fit_are_named(keys: dict[str, int], says: str) -> None:
    model = config.GAT(**{**SMALL, **keys})
    with pytest.raises(RecipeError, match=says):
        families.generator(model, Spec("image", (1, 4, 12)))

