"""Training steps: the trainer against a bare loop, and DCGAN against the way it is usually written."""

import itertools
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from scalegan import config
from scalegan.config import loading
from scalegan.config.ranks import check_world
from scalegan.data.codec import encode
from scalegan.data.manifest import ImageFormat, LabelSchema
from scalegan.data.preparing.shards import Record, finish, write_shard
from scalegan.data.spec import Spec
from scalegan.engines import optimizers
from scalegan.engines.ddp import DDPEngine
from scalegan.engines.precision import autocast, choose_precision
from scalegan.engines.ranks import Ranks
from scalegan.games.base import Batch, Sample
from scalegan.models.layers.tracked import tracked_modules
from scalegan.randomness import Draws
from scalegan.support.allocator import keep_freed_memory
from scalegan.support.flops import FlopCounter
from scalegan.training import build, environment, launch, trainer
from scalegan.training.costs import specs_of
from scalegan.training.run import Run
from scalegan.training.utilisation import peak_flops
from tools.benchmarks.harness import Result, alternate, faster, seconds

_BATCH = 64
_DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
# A GPU works while the host goes on, as in training; a CPU does not, and takes long enough for one.
_ITERATIONS, _LOADERS = (16, 4) if _DEVICE.type == "cuda" else (1, 1)
_CIFAR = {"path": "-", "resolution": 32}
_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


def trainer_vs_bare_loop() -> Result:
    """The whole trainer (data from shards, keyed draws, EMA, reports) against a plain loop with the same networks,
    precision and memory layout, and data in memory."""
    return _beside_bare_loop("trainer_vs_bare_loop")


def graphed_trainer_vs_bare_loop() -> Result | None:
    """The same with `engine.cuda_graphs=true`."""
    if _DEVICE.type != "cuda":
        print("graphed_trainer_vs_bare_loop: skipped: there is no CUDA device", file=sys.stderr)
        return None
    return _beside_bare_loop("graphed_trainer_vs_bare_loop", cuda_graphs=True)


def _beside_bare_loop(name: str, **engine: bool) -> Result:
    with tempfile.TemporaryDirectory() as scratch:
        recipe = _recipe(Path(scratch), engine)
        ranks = Ranks(0, 1, _DEVICE)
        run = launch.assemble(recipe, ranks, check_world(recipe, 1))
        streams = run.open_streams(0)
        bare = _bare_loop(recipe, run)

        def ours() -> float:
            def iteration() -> None:
                before = run.progress.images
                trainer.play_iteration(run, streams)
                run.averages.update(run.progress.images - before, run.progress.images)
            return _images_per_second(iteration)

        value, reference = alternate(ours, lambda: _images_per_second(bare), rounds=15)
        streams.close()
    return faster(name, "images/s", value, "bare loop, data in memory", reference)


def _images_per_second(iteration: Callable[[], None]) -> float:
    def several() -> None:
        for _ in range(_ITERATIONS):
            iteration()
    return _ITERATIONS * _BATCH / seconds(several)


def dcgan64_vs_examples() -> Result:
    """Our DCGAN-64 iteration against one written the usual way: fp32, contiguous, BCE on a sigmoid, with the fastest
    kernels (`cudnn.benchmark`, TF32) where ours are deterministic."""
    update = one_update(_parse({"model": {"name": "dcgan", "norm_group": _BATCH}}))
    usual = _usual_dcgan()

    def with_kernels(deterministic: bool, iteration: Callable[[], None]) -> float:
        environment.prepare(_DEVICE, deterministic, tf32=not deterministic)
        return _images_per_second(iteration)

    value, reference = alternate(lambda: with_kernels(True, update), lambda: with_kernels(False, usual), rounds=9)
    return faster("dcgan64_vs_examples", "images/s", value, "pytorch/examples' way, fp32, contiguous", reference)


def stylegan2_fraction_of_peak() -> Result:
    """64 px, with the widths used in the comparison with NVlabs/stylegan3."""
    model = {"name": "stylegan2", "channel_base": 8192, "channel_max": 128}
    return _fraction_of_peak("stylegan2", {"model": model, "batch_size": 16})


def biggan_fraction_of_peak() -> Result:
    """The networks of the CIFAR script."""
    return _fraction_of_peak("biggan", {"model": {"name": "biggan"}, "batch_size": 16, "data": _CIFAR})


def r3gan_fraction_of_peak() -> Result:
    """The published CIFAR-10 configuration."""
    return _fraction_of_peak("r3gan", {"model": {"name": "r3gan"}, "batch_size": 8, "data": _CIFAR})


def dcgan_fraction_of_peak() -> Result:
    """64 px, as published."""
    return _fraction_of_peak("dcgan", {"model": {"name": "dcgan", "norm_group": _BATCH}})


def r3gan_differences_vs_exact() -> Result:
    """R1 and R2 by one-sided finite differences on all samples, against the exact penalties: a small R3GAN's updates of
    D and G."""
    return _beside_exact("r3gan_differences_vs_exact")


def r3gan_quarter_differences_vs_exact() -> Result:
    """The same on a quarter of the samples."""
    return _beside_exact("r3gan_quarter_differences_vs_exact", share=0.25)


def _beside_exact(name: str, **keys: float) -> Result:
    ours, exact = one_update(_small_r3gan(method="finite_difference", **keys)), one_update(_small_r3gan())
    value, reference = alternate(lambda: 1 / seconds(ours), lambda: 1 / seconds(exact))
    return faster(name, "iterations/s", value, "exact penalties", reference)


def _small_r3gan(**method: object) -> config.Recipe:
    r = {"gamma": 0.1, **method}
    model = {"name": "r3gan", "widths": [128, 96, 64, 16], "cardinalities": [32, 24, 16, 4], "blocks": 1}
    game = {"name": "gan", "loss": "relativistic", "penalties": {"r1": r, "r2": r}}
    return _parse({"model": model, "batch_size": 32, "data": _CIFAR, "game": game, "precision": "fp32"})


def r3gan_compiled_vs_eager() -> Result:
    """Updates of D, with exact R1 and R2, and G of a small R3GAN, compiled against eager: of D's pass only the rest, as
    its penalties run eagerly. Compiling takes minutes."""
    return _beside_eager("r3gan_compiled_vs_eager", _small_r3gan())


def stylegan2_compiled_vs_eager() -> Result:
    """The same for a small StyleGAN2: updates of D and G, and one each of lazy R1 and path lengths."""
    game = {"name": "gan", "penalties": {"r1": {"gamma": 1, "every": 16}, "path_length": {}}}
    model = {"name": "stylegan2", "channel_base": 2048, "channel_max": 64}
    return _beside_eager("stylegan2_compiled_vs_eager", _parse({"model": model, "batch_size": 16, "data": _CIFAR,
                                                                "game": game, "precision": "fp32"}))


def _beside_eager(name: str, recipe: config.Recipe) -> Result:
    eager = one_update(recipe)
    compiled = one_update(replace(recipe, engine=replace(recipe.engine, compile=True)))
    value, reference = alternate(lambda: 1 / seconds(compiled), lambda: 1 / seconds(eager), rounds=9)
    return faster(name, "iterations/s", value, "eager", reference)


def _fraction_of_peak(family: str, changes: dict) -> Result:
    """FLOP/s of one update of every phase, without penalties, against the device's measured peak."""
    recipe = _parse(changes)
    update = one_update(recipe)
    with FlopCounter() as counter:
        update()
    precision = choose_precision(recipe.precision, _DEVICE)
    value, peak = alternate(lambda: counter.flops / seconds(update), lambda: peak_flops(_DEVICE, precision))
    return faster(f"{family}_fraction_of_peak", "FLOP/s", value, f"a 3x3 convolution, 128 channels, {precision}", peak)


def one_update(recipe: config.Recipe) -> Callable[[], None]:
    """A function that runs one update of every phase of a recipe on images in memory."""
    specs = specs_of(recipe)
    environment.prepare(_DEVICE, recipe.engine.deterministic)       # as training does
    game = build.on_device(build.game(recipe, specs), _DEVICE)
    precision = choose_precision(recipe.precision, _DEVICE)
    engine = DDPEngine(game, optimizers.make(recipe.optimizer, game), Ranks(0, 1, _DEVICE),
                       check_world(recipe, 1), precision)
    streams = {name: Sample(_channels_last(spec.empty(recipe.batch_size).zero_().to(_DEVICE)))
               for name, spec in specs.items()}
    positions = torch.arange(recipe.batch_size, device=_DEVICE)

    def update() -> None:
        for phase in game.phases:
            engine.update(phase, Batch(streams, Draws(0, 0, phase.name, positions)))
    return update


def _channels_last(samples: torch.Tensor) -> torch.Tensor:
    return samples.contiguous(memory_format=torch.channels_last) if samples.dim() == 4 else samples


def _parse(changes: dict) -> config.Recipe:
    tree = {"run_dir": "-", "total_images": 1, "batch_size": _BATCH, "data": {"path": "-", "resolution": 64}}
    return loading.parse({**tree, **changes}, "benchmark")


def _recipe(scratch: Path, engine: dict[str, bool]) -> config.Recipe:
    """DCGAN-64 on random images: their content does not affect the time of a step."""
    image = ImageFormat(64, 3, "jpeg", 90)
    noise = np.random.Generator(np.random.Philox(0))
    records = [Record(encode(noise.integers(0, 256, (64, 64, 3), np.uint8), image), None) for _ in range(512)]
    shard, index = write_shard(scratch / "000000.tar", records, 0, "jpeg")
    finish(scratch, [shard], [index], image, LabelSchema(), "noise")
    return loading.parse({"run_dir": str(scratch / "run"), "total_images": 2**40, "batch_size": _BATCH,
                          "data": {"path": str(scratch), "resolution": 64, "workers": _LOADERS}, "engine": engine,
                          "model": {"name": "dcgan", "norm_group": _BATCH}, "log": {"tensorboard": False}}, "benchmark")


def _bare_loop(recipe: config.Recipe, run: Run) -> Callable[[], None]:
    game = build.on_device(build.game(recipe, {"real": Spec("image", (3, 64, 64))}), _DEVICE)
    generator, discriminator = game.G, game.D
    of_players = optimizers.make(recipe.optimizer, game)
    reals = torch.zeros(_BATCH, 3, 64, 64, device=_DEVICE).contiguous(memory_format=torch.channels_last)
    softplus = nn.functional.softplus

    observing = [*tracked_modules(generator), *tracked_modules(discriminator)]

    def z() -> torch.Tensor:
        return torch.empty(_BATCH, 100, device=_DEVICE).normal_()

    def iteration() -> None:
        discriminator.requires_grad_(True)
        with autocast(run.engine.precision, _DEVICE):
            with torch.no_grad():
                fakes = generator(z())
            loss = softplus(-discriminator(reals)).mean() + softplus(discriminator(fakes)).mean()
        loss.backward()
        of_players["D"].step()
        of_players["D"].zero_grad()
        discriminator.requires_grad_(False)
        with autocast(run.engine.precision, _DEVICE):
            loss = softplus(-discriminator(generator(z()))).mean()
        loss.backward()
        of_players["G"].step()
        of_players["G"].zero_grad()
        for module in observing:
            module.drain()
    return iteration


def _usual_dcgan() -> Callable[[], None]:
    """DCGAN-64 as in tutorials: BatchNorm2d, a sigmoid, BCELoss on labels, three backward passes, fp32."""
    widths = [512, 256, 128, 64]
    up: list[nn.Module] = [nn.ConvTranspose2d(100, 512, 4, 1, 0, bias=False), nn.BatchNorm2d(512), nn.ReLU(True)]
    down: list[nn.Module] = [nn.Conv2d(3, 64, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, True)]
    for wide, narrow in itertools.pairwise(widths):
        up += [nn.ConvTranspose2d(wide, narrow, 4, 2, 1, bias=False), nn.BatchNorm2d(narrow), nn.ReLU(True)]
    for narrow, wide in zip(widths[::-1], widths[::-1][1:]):
        down += [nn.Conv2d(narrow, wide, 4, 2, 1, bias=False), nn.BatchNorm2d(wide), nn.LeakyReLU(0.2, True)]
    generator = nn.Sequential(*up, nn.ConvTranspose2d(64, 3, 4, 2, 1, bias=False), nn.Tanh()).to(_DEVICE)
    discriminator = nn.Sequential(*down, nn.Conv2d(512, 1, 4, 1, 0, bias=False), nn.Sigmoid()).to(_DEVICE)
    adam = {"lr": 2e-4, "betas": (0.5, 0.999)}
    of_d = torch.optim.Adam(discriminator.parameters(), **adam)
    of_g = torch.optim.Adam(generator.parameters(), **adam)
    reals, criterion = torch.zeros(_BATCH, 3, 64, 64, device=_DEVICE), nn.BCELoss()
    real, fake = (torch.full((_BATCH,), value, device=_DEVICE) for value in (1.0, 0.0))

    def iteration() -> None:
        discriminator.zero_grad()
        criterion(discriminator(reals).view(-1), real).backward()
        fakes = generator(torch.empty(_BATCH, 100, 1, 1, device=_DEVICE).normal_())
        criterion(discriminator(fakes.detach()).view(-1), fake).backward()
        of_d.step()
        generator.zero_grad()
        criterion(discriminator(fakes).view(-1), real).backward()
        of_g.step()
    return iteration


BENCHMARKS = {benchmark.__name__: benchmark for benchmark in (
    trainer_vs_bare_loop, graphed_trainer_vs_bare_loop, dcgan64_vs_examples, stylegan2_fraction_of_peak,
    biggan_fraction_of_peak, r3gan_fraction_of_peak, dcgan_fraction_of_peak,
    r3gan_differences_vs_exact, r3gan_quarter_differences_vs_exact, r3gan_compiled_vs_eager,
    stylegan2_compiled_vs_eager)}


def time_configuration(arguments: list[str]) -> dict[str, object]:
    """Seconds for one update of every phase of the configuration described by `key=value` arguments."""
    import statistics

    from omegaconf import OmegaConf

    changes = OmegaConf.to_container(OmegaConf.from_dotlist(arguments))
    recipe = loading.parse(loading.merge(loading.to_dict(_parse({})), changes), "benchmark")
    if _DEVICE.type == "cpu":
        keep_freed_memory()                             # as training does
    update = one_update(recipe)
    update()
    times = [seconds(update) for _ in range(5)]
    return {"model": recipe.model.name, "batch_size": recipe.batch_size, "seconds_per_step": statistics.median(times)}
