"""The study's trainings: what they are, and how they are carried out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scalegan.metrics.images import StoredImages
from scalegan.study.faces.attributes import TRANSFORMED
from scalegan.study.faces.splitting import split
from scalegan.study.runs import train


@dataclass(frozen=True)
class Training:
    """A training without what all have in common.

    Args:
        recipe: its name.
        keys: further keys of the recipe.
        translator: it takes the images of translators, from photo to photo, which cost several times as much.
        critic_updates: for each of its generator. It takes as many times more images, each update a batch of its own,
            so that generators see equally many.
        between: the attribute whose absence and presence are its two sets; none if it takes the whole set.
    """

    recipe: str
    keys: tuple[str, ...] = ()
    translator: bool = False
    critic_updates: int = 1
    between: str | None = None


# The iterative GAN's settings of section 5.2, by the weights that are 0.
LOSSES = {"pixel": ("perceptual", "code"), "code": ("perceptual", "pixel"), "code_pixel": ("perceptual",),
          "integrated": ()}
ITERATIVE = {loss: f"iterative_{loss}" for loss in LOSSES}
INTEGRATED = ITERATIVE["integrated"]

_CRITIC_UPDATES = 5     # of StarGAN, as published

# Networks, batch and rate as in iterative_celeba, so that only the game differs.
_AS_ITERATIVE = ("model.width=16", "model.latent=uniform", "batch_size=64", "micro_batch_size=16", "lanes=4",
                 "data.workers=1", "log.every_images=6_400", "snapshot.every_images=64_000",
                 "checkpoint.every_images=64_000")


def trainings(attributes: Sequence[str], translator_images: int) -> dict[str, Training]:
    """All trainings by name.

    Args:
        attributes: that change, those of the question of transformation first.
        translator_images: that a translator's generator sees. StarGAN's rate falls to 0 over the second half, as
            published.
    """
    half = max(1, translator_images * _CRITIC_UPDATES // 2)
    rate = f"{{kind: linear, start: 5e-4, end: 0, after: {half}, images: {half}}}"
    found = {name: Training("iterative_celeba", tuple(f"game.{term}=0" for term in LOSSES[loss]))
             for loss, name in ITERATIVE.items()}
    found |= {"cgan": Training("celeba_dcgan", (*_AS_ITERATIVE, "data.labels=attributes")),
              "acgan": Training("acgan_celeba_small", _AS_ITERATIVE),
              "dcgan": Training("celeba_dcgan", _AS_ITERATIVE),
              "stargan": Training("stargan_celeba", (f"game.attributes=[{','.join(attributes)}]", "batch_size=8",
                                                     "micro_batch_size=8", "lanes=1", f"optimizer.default.lr={rate}",
                                                     "ema.half_life_images=1_500"), translator=True,
                                  critic_updates=_CRITIC_UPDATES)}
    found |= {cyclegan(name): Training("cyclegan_faces", translator=True, between=name)
              for name in attributes[:TRANSFORMED]}
    return found


def cyclegan(attribute: str) -> str:
    """The name of the CycleGAN that gives photos an attribute."""
    return f"cyclegan_{attribute.lower()}"


@dataclass(frozen=True)
class Plan:
    """What all trainings have in common.

    Args:
        train: photos with attributes.
        images, translator_images: that each generator sees, of a translator and of any other.
        out: the study's folder; runs are in `out`/runs, sets made from `train` in `out`/data.
    """

    train: StoredImages
    images: int
    translator_images: int
    out: Path

    def run(self, name: str, seed: int) -> Path:
        """The folder of a training's run."""
        return self.out / "runs" / f"{name}_{seed}"

    def carry_out(self, chosen: Mapping[str, Training], seeds: Sequence[int]) -> None:
        """Trains with every seed, or goes on where an earlier call stopped.

        Raises:
            UserError: if a training failed, or `train` cannot be split.
        """
        sets = {one.between: split(self.train, one.between, self.out / "data" / one.between.lower())
                for one in chosen.values() if one.between}
        for seed in seeds:
            for name, one in chosen.items():
                paths = [f"data.path={self.train.name}"]
                if one.between:
                    paths = [f"data.path={sets[one.between][0]}", f"streams.B.path={sets[one.between][1]}"]
                total = (self.translator_images if one.translator else self.images) * one.critic_updates
                train(self.run(name, seed), [f"recipe={one.recipe}", *one.keys, *paths, f"seed={seed}",
                                             f"data.resolution={self.train.shape[1]}", f"total_images={total}"])
