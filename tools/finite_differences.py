"""How close finite differences come to exact R1: gradients of both on a small R3GAN, trained briefly on MNIST.

    tools/finite_differences.py [--images 20000] [--repeats 32]

Prints, by sigma, the penalty over its exact value, and the cosine of its gradient with the exact one: over D's weights,
and over all parameters. `along e` is the exact squared derivative along the same noise: what a sigma of 0 would give.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from scalegan import penalties
from scalegan.config import loading
from scalegan.config.ranks import check_world
from scalegan.engines.ranks import Ranks
from scalegan.games.base import Batch
from scalegan.games.gan.game import GAN
from scalegan.games.penalties.finite_difference import FiniteDifferences, Probe
from scalegan.randomness import Draws
from scalegan.training import build, launch, trainer

_SAMPLES = 64


def trained(images: int, folder: str) -> tuple[GAN, Tensor, Tensor]:
    """A game after so many images of exact penalties, and some reals with their labels."""
    recipe = loading.load(["recipe=r3gan_cifar10_small", f"run_dir={folder}/run", "data.path=embedded:mnist",
                           "data.workers=0", f"total_images={images}", "model.widths=[64,48,32,16]",
                           "model.cardinalities=[16,12,8,4]", "precision=fp32", "log.tensorboard=false"])
    ranks = Ranks(0, 1, torch.device("cpu"))
    run = launch.assemble(recipe, ranks, check_world(recipe, 1))
    streams = run.open_streams(0)
    while run.progress.images < images:
        trainer.play_iteration(run, streams)
    streams.close()
    stored = build.evaluation_images(recipe)
    reals = torch.stack([torch.from_numpy(np.array(stored.read(number))) for number in range(_SAMPLES)])
    reals = reals if reals.shape[1] in (1, 3) else reals.movedim(-1, 1)
    return run.game, reals.float() / 127.5 - 1, torch.from_numpy(np.array(stored.labels[:_SAMPLES])).long()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=32, help="draws of the noise, whose mean is compared")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        game, reals, labels = trained(options.images, folder)
    weights = dict(game.D.named_parameters())

    def joined(term: Tensor) -> dict[str, Tensor]:
        found = torch.autograd.grad(term, list(weights.values()), allow_unused=True)
        return {name: torch.zeros_like(p) if g is None else g for (name, p), g in zip(weights.items(), found)}

    def gradient_at(batch: Batch) -> Tensor:
        x = batch.reals.clone().requires_grad_()
        return penalties.inner_gradients(game.D(x, batch.labels).sum(), [x])[0].flatten(1)

    def batch_of(repeat: int) -> Batch:
        return Batch.of(reals, Draws(0, 0, "D", torch.arange(_SAMPLES) + _SAMPLES * repeat), labels)

    def along(batch: Batch) -> Tensor:
        e = batch.draws.normal("finite_difference/real", *reals.shape[1:]).flatten(1)
        return (gradient_at(batch) * e).sum(1).square().mean()

    def mean_of(term) -> tuple[float, dict[str, Tensor]]:
        values, sums = 0.0, dict.fromkeys(weights, 0.0)
        for repeat in range(options.repeats):
            value = term(batch_of(repeat))
            values += value.item() / options.repeats
            sums = {name: sums[name] + g / options.repeats for name, g in joined(value).items()}
        return values, sums

    exact = gradient_at(batch_of(0)).square().sum(1).mean()
    expected = joined(exact)

    def cosine(found: dict[str, Tensor], biases: bool) -> float:
        names = [name for name in weights if biases or not name.endswith("bias")]
        one, two = (torch.cat([g[name].flatten() for name in names]) for g in (found, expected))
        return torch.cosine_similarity(one, two, dim=0).item()

    rows = {"along e": along}
    for sigma in (0.1, 0.03, 0.01):
        for antithetic in (False, True):
            penalty = FiniteDifferences({"real": Probe(2.0, sigma, antithetic)}, 2)
            rows[f"sigma {sigma}{', antithetic' * antithetic}"] = lambda batch, penalty=penalty: \
                penalty.lazy_terms(game, batch)["r1"] / 2
    print(f"exact {exact.item():.4g}; each row is a mean over {_SAMPLES} samples x {options.repeats} draws")
    print("| | penalty / exact | cosine, weights | cosine, all |\n| --- | --- | --- | --- |")
    for name, term in rows.items():
        value, found = mean_of(term)
        print(f"| {name} | {value / exact.item():.3f} | {cosine(found, False):.3f} | {cosine(found, True):.3f} |",
              flush=True)


if __name__ == "__main__":
    main()
