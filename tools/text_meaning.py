"""Whether samples show what their texts say: `python tools/text_meaning.py RUN`.

RUN was trained on embedded:emoji_train. embedded:emoji_test has the same figures, each in a skin tone in which the run
saw others, but not this one. A small convolutional network that has nothing to do with the run learns from the real
emoji of embedded:emoji_train which of five tones and which figure an emoji shows. Prints one JSON object; errors are
standard errors over captions:

real         shares of the emoji of embedded:emoji_test of which the network sees the right tone, one at most a step
             away (near), and the right figure
held_out     the same for samples of their captions, for which the run saw no image
known        the same for as many captions of embedded:emoji_train
chance       what the best single answer to all would reach on the held-out captions
one_word     pairs of samples of the same latent, of a held-out caption and of the same with "dark" in place of its tone
             ("light" if that is darker than medium): shares of pairs of which the tone seen moves towards the word, of
             which it moves away, and of which both are seen as the same figure

--picture FILE shows figures, a row each, in the five tones: on the left the real emoji, on the right samples of one
latent; the held-out tone has a frame.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import NamedTuple

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import scalegan
from scalegan.cli import run_verb
from scalegan.config import Data
from scalegan.data import captions
from scalegan.data.manifest import Index, Manifest
from scalegan.data.preparing import emojis
from scalegan.data.preparing.embedded import folder_of, make_embedded
from scalegan.engines.ranks import join
from scalegan.games.sampling import one_batch_at_a_time
from scalegan.metrics.images import open_images
from scalegan.pictures.grids import save_grid
from scalegan.randomness import Draws
from tools.asked_and_seen import rounded

TONES = list(emojis.TONES.values())
_PASSES, _NOISE = 16, 0.1


class Emoji(NamedTuple):
    """Emoji of one tone: images [N, 3, R, R] in [-1, 1], vectors [N, dim], tones [N], and the figure of each."""

    images: Tensor
    vectors: Tensor
    tones: Tensor
    figures: list[str]

    def of(self, rows: Tensor) -> "Emoji":
        return Emoji(self.images[rows], self.vectors[rows], self.tones[rows],
                     [self.figures[row] for row in rows.tolist()])


class Network(nn.Module):
    """Images to logits of the tones and of the figures."""

    def __init__(self, resolution: int, figures: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in ((3, 32), (32, 64), (64, 128)):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2)]
        self.features = nn.Sequential(*layers, nn.Flatten())
        self.tone, self.figure = (nn.Linear(2 * resolution**2, outputs) for outputs in (len(TONES), figures))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        h = self.features(images)
        return self.tone(h), self.figure(h)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("--samples", type=int, default=4, help="of each caption (default 4)")
    parser.add_argument("--picture", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    generator = scalegan.load(options.run)
    size = generator.about["spec"]["shape"][-1]
    known, test = (emoji(f"embedded:emoji_{part}", size) for part in ("train", "test"))
    names = sorted(set(known.figures))
    if options.picture:
        save_grid(options.picture, picture(generator, known, test), 2 * len(TONES))
    network = trained(known, names)
    some = known.of(torch.linspace(0, len(known.tones) - 1, len(test.tones)).long())
    found = {"real": right(network, test.images, test, names)}
    for name, asked in (("held_out", test), ("known", some)):
        found[name] = right(network, sampled(generator, asked.vectors, options.samples), asked, names)
    single = (torch.arange(len(TONES))[:, None] - test.tones).abs()
    found["chance"] = {"tone": rounded((single == 0).float().mean(1).max()),
                       "near": rounded((single <= 1).float().mean(1).max()),
                       "figure": rounded(torch.tensor(1 / len(names)))}
    print(json.dumps({**found, "one_word": one_word(generator, network, known, test, options.samples),
                      "captions": len(test.tones), "figures": len(names)}, indent=1))
    return 0


def right(network: nn.Module, images: Tensor, asked: Emoji, names: list[str]) -> dict[str, float]:
    """How many images show what was asked for, as many of each."""
    tone, figure = (answer.view(len(asked.tones), -1) for answer in seen(network, images))
    steps = (tone - asked.tones[:, None]).abs()
    return {**share("tone", steps == 0), **share("near", steps <= 1),
            **share("figure", figure == numbers(asked, names)[:, None])}


def one_word(generator: nn.Module, network: nn.Module, known: Emoji, test: Emoji, samples: int) -> dict[str, float]:
    """What another tone in a held-out caption changes, with the same latents."""
    vectors = {pair: vector for part in (known, test) for pair, vector in
               zip(zip(part.figures, part.tones.tolist()), part.vectors)}
    last = len(TONES) - 1
    others = [(figure, 0 if tone > last // 2 else last) for figure, tone in zip(test.figures, test.tones.tolist())]
    tone, figure = seen(network, sampled(generator, test.vectors, samples))
    other_tone, same = seen(network, sampled(generator, torch.stack([vectors[pair] for pair in others]), samples))
    asked = torch.tensor([number for _, number in others]) - test.tones
    moved = (other_tone - tone).view(len(asked), -1) * asked.sign()[:, None]
    return {**share("towards", moved > 0), **share("against", moved < 0),
            **share("same_figure", (figure == same).view(len(asked), -1))}


def picture(generator: nn.Module, known: Emoji, test: Emoji, rows: int = 12) -> Tensor:
    """Real emoji and samples, [rows * 10, 3, R, R]."""
    found = []
    for row in torch.linspace(0, len(test.tones) - 1, rows).long().tolist():
        own = test.of(torch.tensor([row]))
        others = known.of(torch.tensor([place for place, one in enumerate(known.figures) if one == own.figures[0]]))
        tones, images, vectors = (torch.cat(both) for both in ((own.tones, others.tones), (own.images, others.images),
                                                               (own.vectors, others.vectors)))
        latents = Draws(0, 0, "picture", torch.full((len(tones),), row))
        with torch.no_grad():
            made = one_batch_at_a_time(generator, latents, vectors, 1.0, 100)
        for shown in (images.clone(), made):
            shown[0, :, [0, -1]], shown[0, :, :, [0, -1]] = -1.0, -1.0
            found.append(shown[tones.argsort()])
    return torch.cat(found)


def share(name: str, right: Tensor) -> dict[str, float]:
    """The share that is right of [captions, samples], and its standard error over captions."""
    means = right.float().mean(1)
    return {name: rounded(means.mean()), f"{name}_error": rounded(means.std() / len(means) ** 0.5)}


def emoji(path: str, size: int) -> Emoji:
    """Those emoji of an embedded set that are of one tone."""
    make_embedded(Data(path=path, resolution=size), join())
    folder, named = folder_of(path, size), {one.name: one for one in emojis.listed() if one.tone}
    stored = captions.read(folder, Manifest.load(folder).labels.vectors)
    places = Index.load(folder / "index.safetensors").labels[:, 0]
    toned = [(record, place) for record, place in enumerate(places) if stored.texts[place] in named]
    shown, found = [named[stored.texts[place]] for _, place in toned], open_images(str(folder))
    images = torch.stack([torch.from_numpy(found.read(record)) for record, _ in toned]).movedim(3, 1)
    return Emoji(images / 127.5 - 1, torch.from_numpy(stored.vectors[[place for _, place in toned]]),
                 torch.tensor([TONES.index(one.tone) for one in shown]), [one.base for one in shown])


def numbers(found: Emoji, names: list[str]) -> Tensor:
    """The number of each emoji's figure, -1 where it has none."""
    number = {name: place for place, name in enumerate(names)}
    return torch.tensor([number.get(figure, -1) for figure in found.figures])


def trained(found: Emoji, names: list[str]) -> Network:
    """Trained on images that are moved by up to two pixels, with noise."""
    torch.manual_seed(0)
    network, figures = Network(found.images.shape[-1], len(names)), numbers(found, names)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    for _ in range(_PASSES):
        for rows in torch.randperm(len(figures)).split(64):
            moved = torch.roll(found.images[rows], torch.randint(-2, 3, (2,)).tolist(), (2, 3))
            tone, figure = network(moved + _NOISE * torch.randn_like(moved))
            optimizer.zero_grad()
            (F.cross_entropy(tone, found.tones[rows]) + F.cross_entropy(figure, figures[rows])).backward()
            optimizer.step()
    return network.eval()


@torch.no_grad()
def seen(network: Network, images: Tensor) -> tuple[Tensor, Tensor]:
    """Numbers of tones and figures [N] that the network sees."""
    answers = [network(part) for part in images.split(250)]
    return tuple(torch.cat(head).argmax(1) for head in zip(*answers))


@torch.no_grad()
def sampled(generator: nn.Module, vectors: Tensor, samples: int) -> Tensor:
    """Samples of each vector, with the same latents each time this is called: [N * samples, 3, R, R]."""
    draws = Draws(0, 0, "meaning", torch.arange(len(vectors) * samples))
    return one_batch_at_a_time(generator, draws, vectors.repeat_interleave(samples, 0), 1.0, 100)


if __name__ == "__main__":
    sys.exit(run_verb(main, sys.argv[1:]))
