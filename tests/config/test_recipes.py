"""Every shipped recipe builds at full size, fits its number of ranks, and trains when scaled down."""

import re
from dataclasses import replace

import pytest
import torch
from harness import ROOT
from small_games import batch_for

from scalegan.cluster.elastic import usable_ranks
from scalegan.commands.plan import recommended_gpus
from scalegan.config import Schedule, catalogue, loading
from scalegan.config.game import of_family
from scalegan.config.ranks import check_world
from scalegan.engines import optimizers
from scalegan.engines.ddp import DDPEngine
from scalegan.engines.ranks import Ranks
from scalegan.errors import RecipeError
from scalegan.models.gat import SIZES
from scalegan.randomness import Draws
from scalegan.training import build
from scalegan.training.costs import specs_of

SAMPLES = 4
NARROW = {
    "dcgan": ["model.width=4", "model.latent_dim=8", "model.norm_group=4"],
    "biggan": ["model.width=8", "model.norm_group=4"],
    "biggan_deep": ["model.width=8", "model.norm_group=4"],
    "stylegan2": ["model.channel_base=256", "model.channel_max=16", "model.latent_dim=16", "model.w_dim=16",
                  "model.mapping_layers=2", "model.mbstd_group=4"],
    "r3gan": ["model.width=32", "model.cardinality=8", "model.blocks=1"],
    "gat": ["model.depth=4", "model.width=16", "model.heads=2", "model.label_dim=8"],
    "acgan": ["model.latent_dim=8", "model.norm_group=4"],
    "mlp": [], "autoencoder_kl": ["model.widths=[4,4,4]", "model.groups=2"],
    "ali": ["game.width=2", "game.norm_group=4"],
    "cgan": [],
    "ssgan": ["game.group=4"],
    "bigan": ["game.hidden=8", "game.latent_dim=4", "game.norm_group=4"],
    "pix2pix": ["model.width=2", "model.d_width=2"],
    "colorization": ["model.width=2", "model.d_width=2"],
    "cyclegan": ["model.width=2", "model.d_width=2"],
    "srgan": ["model.width=4", "model.blocks=1", "model.d_width=2"],
    "simgan": ["game.width=4"],
    "pixelda": ["game.width=4", "game.norm_group=4"],
    "stargan": ["model.width=2", "model.d_width=2"],
    "lapgan": ["game.width=4", "game.base_hidden=200"],
    "iterative": ["game.width=2", "game.hidden=8", "game.norm_group=4"],
    "cogan": ["game.width=16", "game.norm_group=4"],
    "gan3d": ["game.width=2", "game.norm_group=4"],
    "text_dcgan": ["model.width=8", "model.d_width=8", "model.norm_group=4"],
}
# For a CPU; all others are for GPUs.
SMALL = ("quickstart", "toy_lecture", "dcgan_mnist", "mlp_gan_mnist", "infogan_mnist", "aae_mnist",
         "aae_semi_mnist", "avb_mnist", "acgan_mnist", "bigan_mnist", "ali_cifar10", "pix2pix_edges",
         "colorization_celeba", "cyclegan_faces", "lapgan_cifar10", "cogan_mnist", "cogan_digits", "deligan_mnist",
         "madgan_mnist", "consensus_mnist", "cgan_mnist", "ssgan_mnist", "srgan_photos", "simgan_digits",
         "pixelda_digits", "stargan_celeba", "iterative_celeba", "gan3d_glyphs", "vaegan3d_glyphs",
         "text_emoji", "finetune_stylegan2", "finetune_r3gan", "aae_celeba_latents")
OBJECTIVES = ("lsgan_lsun_church", "ebgan_pt_celeba", "wgan_celeba")
FULL_CORPORA = [name for name in catalogue.available() if name not in SMALL and "_small" not in name]

# Real images that the published run took from its data, by its authors' count.
PUBLISHED_IMAGES = {
    "biggan_cifar10": 500 * 50_000,             # launch_cifar_ema.sh: 500 epochs
    "lsun_scenes_biggan": 150_000 * 2048,       # README of BigGAN-PyTorch: iterations of 8 x 256, one step of D each
    "biggan_deep_imagenet128": 150_000 * 2048,  # as BigGAN; launch_BigGAN_deep.sh names no length
    "stylegan2_cifar10": 100_000_000,           # train.py, cfg=cifar: kimg=100000
    "celeba_stylegan2": 25_000_000,             # the same, cfg=auto
    "celeba128_stylegan2": 25_000_000,
    "lsun_cat_stylegan2": 88_000_000,           # README of NVlabs/stylegan2: --total-kimg=88000
    "lsun_church_stylegan2": 88_000_000,
    "colorization_fabbri": 8 * 195_000,         # the report: eight passes over CelebA
    "cyclegan_256": 200 * 1_334,                # 200 passes over the larger of horse2zebra's sets
    "text_birds64": 600 * 8_855,                # the scripts for CUB: 600 epochs of its 150 training species
    "pix2pix_256": 200 * 400,                   # 200 passes over the facades
    "celeba128_iterative": 50 * 185_000,        # section 5: 50 epochs of 185,000 images
    "celeba128_stargan": 20 * 200_000,          # section 5: 20 epochs of all but 2,000 images, nearly
    "imagenet256_gat_b": 400_000 * 512,         # train.py: --max-train-steps, with the script's batch
    "imagenet256_gat_xl": 60 * 1_281_167,       # the paper: 60 epochs
    "r3gan_cifar10": 2 * 250_000_000,           # table 9 of the paper: 250 Mimg, of D's batches; as many are G's
}
GATS = [name for name in FULL_CORPORA if "gat" in name.split("_")]
R3GANS = [name for name in FULL_CORPORA if "r3gan" in name]
# Initial gamma, final p, final half-life and images of the schedules of the preset that a recipe follows (train.py of
# brownvc/R3GAN).
R3GAN_PRESETS = {"r3gan_cifar10": (0.05, 0.55, 5_000_000, 20_000_000), "celeba_r3gan": (2, 0.3, 500_000, 20_000_000),
                 "celeba128_r3gan": (17, 0.3, 500_000, 20_000_000),
                 "r3gan_imagenet32": (0.5, 0.5, 50_000_000, 200_000_000),
                 "r3gan_imagenet64": (1, 0.4, 50_000_000, 200_000_000)}
# Parameters of G and D with the classes of the data (the published classes, as built).
PUBLISHED_PARAMETERS = {"r3gan_imagenet32": (1000, 82_914_304, 86_548_992),
                        "r3gan_imagenet64": (1000, 103_570_432, 107_205_120),
                        "biggan_deep_imagenet128": (1000, 50_244_484, 34_590_210),
                        "stylegan2_cifar10": (10, 20_215_315, 23_089_664),
                        "colorization_fabbri": (0, 39_303_168, 2_765_568),
                        "pix2pix_256": (0, 54_413_955, 2_768_705)}


@pytest.mark.parametrize("name", catalogue.available())
def test_it_builds_at_full_size_on_up_to_the_ranks_in_its_header(name: str) -> None:
    recipe = loading.load([f"recipe={name}"])
    with torch.device("meta"):
        game = build.game(recipe, specs_of(recipe))
    assert all(parameter.is_meta for parameter in game.parameters())
    most = recommended_gpus(name) or 1
    for ranks in (count for count in range(1, most + 1) if most % count == 0):
        check_world(recipe, ranks)


@pytest.mark.parametrize("name", PUBLISHED_PARAMETERS)
def test_its_networks_have_the_published_number_of_parameters(name: str) -> None:
    classes, *expected = PUBLISHED_PARAMETERS[name]
    recipe = loading.load([f"recipe={name}"])
    specs = {stream: replace(spec, classes=classes) for stream, spec in specs_of(recipe).items()}
    with torch.device("meta"):
        game = build.game(recipe, specs)
    assert [sum(p.numel() for p in game.players[player].parameters()) for player in "GD"] == expected


def gpus_in_readme() -> dict[str, int]:
    """The most GPUs by recipe, from the README's table: | `recipe`, `a_{b,c}` | ... | 1 to 8 GPUs |."""
    found = {}
    for line in (ROOT / "README.md").read_text().splitlines():
        if most := re.search(r"\| (?:1 to|1 or|one) ?(\d*) GPUs? \|$", line):
            for written in re.findall("`(.*?)`", line.split("|")[1]):
                head, *inner = re.split("[{}]", written)
                names = [head] if not inner else [f"{head}{part}{inner[1]}" for part in inner[0].split(",")]
                found |= dict.fromkeys(names, int(most[1] or 1))
    return found


@pytest.mark.parametrize("name", [name for name in FULL_CORPORA if name not in OBJECTIVES])
def test_the_readme_names_the_most_gpus_that_it_can_use(name: str) -> None:
    recipe = loading.load([f"recipe={name}"])
    assert usable_ranks(recipe, 4096) == recipe.lanes == gpus_in_readme()[name]


@pytest.mark.parametrize("name", ["stylegan2_cifar10", "lsun_bedroom_stylegan2", "celeba_stylegan2"])
def test_more_lanes_would_leave_too_few_samples_for_a_minibatch_stddev_group(name: str) -> None:
    recipe = loading.load([f"recipe={name}"])
    with pytest.raises(RecipeError, match="mbstd_group"):
        check_world(replace(recipe, lanes=2 * recipe.lanes), 2 * recipe.lanes)


def header_of(name: str) -> list[str]:
    return [line for line in catalogue.find(name).read_text().splitlines() if line.startswith("#")]


@pytest.mark.parametrize("name", FULL_CORPORA)
def test_its_header_names_gpus_and_hours(name: str) -> None:
    assert recommended_gpus(name) and "GPU" in header_of(name)[1] and "hour" in header_of(name)[1]


@pytest.mark.parametrize("name", FULL_CORPORA)
def test_its_header_agrees_with_the_plan_in_the_docs(name: str) -> None:
    """docs/scaling.md: | recipe | GPUs | batch | ... | hours |, as `scalegan plan --table corpora` computed them."""
    rows = [[cell.strip() for cell in line.strip(" |").split("|")]
            for line in (ROOT / "docs" / "scaling.md").read_text().splitlines() if line.startswith(f"| {name} |")]
    assert len(rows) == 1
    gpus, batch, hours = int(rows[0][1]), int(rows[0][2].replace(",", "")), rows[0][-1]
    assert (gpus, batch) == (recommended_gpus(name), loading.load([f"recipe={name}"]).batch_size)
    said = "under an hour" if hours == "under 1" else f"about {hours} hour{'s' * (hours != '1')}"
    assert said in header_of(name)[1]


@pytest.mark.parametrize("name", [*FULL_CORPORA, *SMALL[2:], "acgan_celeba_small"])
def test_its_header_names_data_source_and_the_published_figure(name: str) -> None:
    header = header_of(name)
    starts = [line.split(":")[0] for line in header]
    assert {"# Data", "# Source"} <= set(starts)
    assert "Published" in " ".join(header[starts.index("# Source"):])


@pytest.mark.parametrize("name", PUBLISHED_IMAGES)
def test_its_length_is_the_published_one_in_images_taken(name: str) -> None:
    assert loading.load([f"recipe={name}"]).total_images == PUBLISHED_IMAGES[name]


@pytest.mark.parametrize("name", R3GANS)
def test_r3gans_schedules_are_the_published_ones_with_the_batches_of_g_counted(name: str) -> None:
    recipe = loading.load([f"recipe={name}"])
    gamma, p, half_life, images = R3GAN_PRESETS.get(name, (150, 0.3, 500_000, 20_000_000))
    images *= 2
    assert recipe.game.fresh_batch == ("D", "G")
    for player in recipe.optimizer.values():
        assert player.lr == Schedule(start=2e-4, end=5e-5, images=images)
        assert player.betas == (0, Schedule(start=0.9, end=0.99, images=images))
    for penalty in (recipe.game.penalties.r1, recipe.game.penalties.r2):
        assert penalty.gamma == Schedule(start=gamma, end=gamma / 10, images=images)
    assert recipe.augment.p == Schedule(start=0, end=p, images=images)
    assert recipe.ema.half_life_images == Schedule(start=0, end=2 * half_life, images=images)
    assert recipe.total_images >= images


@pytest.mark.parametrize("name", GATS)
def test_gats_rates_are_the_published_one_for_their_width(name: str) -> None:
    recipe = loading.load([f"recipe={name}"])
    width = recipe.model.width or SIZES[recipe.model.size][1]
    for player in recipe.optimizer.values():
        assert player.lr == pytest.approx(2e-4 * 768 / width, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", catalogue.available())
def test_it_makes_an_update_when_scaled_down(name: str) -> None:
    full = loading.load([f"recipe={name}"])
    own = not of_family(full) or getattr(full.game, "networks", "family") != "family"
    family = full.game.name if own else full.model.name
    recipe = loading.load([f"recipe={name}", f"batch_size={SAMPLES}", f"micro_batch_size={SAMPLES}", "lanes=1",
                           *NARROW[family]])
    specs = specs_of(recipe)
    game = build.game(recipe, specs)
    engine = DDPEngine(game, optimizers.make(recipe.optimizer, game), Ranks(0, 1, torch.device("cpu")), SAMPLES)
    for phase in game.phases:
        before = [p.clone() for player in phase.players for p in game.players[player].parameters()]
        terms = engine.update(phase, batch_for(specs, Draws(0, 0, phase.name, torch.arange(SAMPLES))))
        after = [p for player in phase.players for p in game.players[player].parameters()]
        assert all(value.isfinite() for value in terms.values())
        assert any(not torch.equal(a, b) for a, b in zip(before, after))
