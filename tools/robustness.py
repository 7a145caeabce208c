"""How much DCGAN, WGAN-GP and an adversarial autoencoder suffer from settings that are not their own.

    python tools/robustness.py OUT [--seeds 1] [--images 64000]

Trains each on the digits of embedded:mnist with the same convolutional networks: as its recipe says; with the learning
rates times 10 and divided by 10; without BatchNorm; and with other activations. Distances are from 2,000 samples to the
5,000 digits, in the 128 features of a digit classifier (OUT/digits.pt). Writes OUT/samples.png, a row per training and
ten samples per row, and prints a table. Trainings that are there are not repeated. Numbers of images are those that all
players see: WGAN-GP, whose critic has five updates to one of G, gets twice as many.
"""

import argparse
import json
import subprocess
import sys
import warnings
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from statistics import median

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import torch
from torch import Tensor, nn

import scalegan
from scalegan.cli import run_verb
from scalegan.games.sampling import one_batch_at_a_time
from scalegan.pictures.grids import save_grid
from scalegan.randomness import Draws
from tools.asked_and_seen import labelled, trained

SHARED = ("data.resolution=32", "batch_size=64", "micro_batch_size=64", "lanes=1", "precision=fp32",
          "log.tensorboard=false")
# game: (recipe keys, size of z, learning rate, BatchNorm that is its own, images relative to --images)
GAMES: Mapping[str, tuple[tuple[str, ...], int, float, str, int]] = {
    "DCGAN": (("recipe=dcgan_mnist",), 100, 2e-4, "both", 1),
    "WGAN-GP": (("recipe=dcgan_mnist", "game.loss=wgan_gp", "game.updates={D: 5}", "optimizer.G.betas=[0, 0.9]",
                 "optimizer.D.betas=[0, 0.9]"), 100, 1e-4, "generator", 2),
    "AAE": (("recipe=aae_mnist",), 8, 2e-4, "both", 1),
}
# change: (factor of the learning rates, BatchNorm or None for the game's own, activation)
CHANGES: Mapping[str, tuple[float, str | None, str]] = {
    "its own settings": (1, None, "published"),
    "learning rates x 10": (10, None, "published"),
    "learning rates / 10": (0.1, None, "published"),
    "no BatchNorm": (1, "none", "published"),
    "tanh": (1, None, "tanh"),
    "softplus": (1, None, "softplus"),
}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=1, help="of each training; the table has their median (default 1)")
    parser.add_argument("--images", type=int, default=64_000, help="that a training sees (default 64000)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    extractor = options.out / "digits.pt"
    if not extractor.exists():
        save_extractor(extractor)
    found: dict[tuple[str, str], list[dict[str, float]]] = {}
    rows = []
    for seed, (game, change) in product(range(options.seeds), product(GAMES, CHANGES)):
        run = options.out / f"{game}_{change}_{seed}".replace("/", "by").replace(" ", "_").lower()
        train(run, [*settings(game, change, options.images), f"seed={seed}"])
        found.setdefault((game, change), []).append(evaluate(run, extractor))
        if seed == 0:
            rows.append(samples(run))
            save_grid(options.out / "samples.png", torch.cat(rows), 10)
    print(table(found))
    return 0


def settings(game: str, change: str, images: int) -> list[str]:
    """Recipe keys of a training."""
    (own, dim, rate, norm, longer), (factor, other_norm, activation) = GAMES[game], CHANGES[change]
    lr = f"{rate * factor:g}"
    rates = [f"optimizer.default.lr={lr}"] if game == "AAE" else [f"optimizer.{player}.lr={lr}" for player in "GD"]
    latent = "uniform" if game == "DCGAN" else "normal"
    model = (f"model={{name: dcgan, width: 16, latent_dim: {dim}, latent: {latent}, norm: {other_norm or norm}, "
             f"activation: {activation}}}")
    total = images * longer
    return [*own, *SHARED, *rates, model, f"total_images={total}", f"snapshot.every_images={total}",
            f"checkpoint.every_images={total}"]


def train(run: Path, keys: Sequence[str]) -> None:
    if not (run / "finished").exists():
        subprocess.run([sys.executable, "-m", "scalegan", "train", *keys, f"run_dir={run}"], check=True)
        (run / "finished").touch()


def evaluate(run: Path, extractor: Path) -> dict[str, float]:
    """Figures of 2,000 samples."""
    file = run / "robustness.json"
    if not file.exists():
        answer = subprocess.run([sys.executable, "-m", "scalegan", "evaluate", str(run), "--data", "embedded:mnist",
                                 "--metrics", "fid", "--extractor", str(extractor), "--num-samples", "2000"],
                                check=True, capture_output=True, text=True)
        file.write_text(answer.stdout)
    return json.loads(file.read_text())["metrics"]


def save_extractor(file: Path) -> None:
    """A classifier of the digits without its last layer: uint8 images [N, 3, 32, 32] -> features [N, 128]."""
    network = trained(*labelled("embedded:mnist", 32))
    features = nn.Sequential(*list(network)[:-1])

    class Features(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = features

        def forward(self, images: Tensor) -> Tensor:
            return self.features(images[:, :1].float() / 127.5 - 1)

    with warnings.catch_warnings():     # torch deprecates TorchScript
        warnings.simplefilter("ignore")
        torch.jit.trace(Features().eval(), torch.zeros(2, 3, 32, 32, dtype=torch.uint8)).save(str(file))


@torch.no_grad()
def samples(run: Path) -> Tensor:
    """Ten samples of seeds 0 to 9."""
    return one_batch_at_a_time(scalegan.load(run), Draws(0, 0, "robustness", torch.arange(10)), None, 1.0, 10)


def table(found: Mapping[tuple[str, str], Sequence[Mapping[str, float]]]) -> str:
    """Markdown, a row per change, with the Fréchet distance of each game: medians over the seeds."""
    lines = ["| | " + " | ".join(GAMES) + " |", "| --- " * (1 + len(GAMES)) + "|"]
    for change in CHANGES:
        cells = [f"{median(one['fd'] for one in found[game, change]):.0f}" for game in GAMES]
        lines.append(f"| {change} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(run_verb(main, sys.argv[1:]))
