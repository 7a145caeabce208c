"""The rules of `recipe=auto`: from what a set of images is, and what there is to train it on, to a recipe.

In the manner of the configuration `auto` of stylegan2-ada-pytorch (Karras et al., 2020). The number of GPUs is not
among the facts: a recipe means the same on any number of them, and `lanes` allows for several. `docs/training.md` has
the rules in a table.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from scalegan.errors import RecipeError
from scalegan.support.names import did_you_mean
from scalegan.support.resolution import Resolution, parse, sides_of

FEWEST = 100                # images: below that, D learns them by heart before G has learnt anything
_FEWEST_OF_A_CLASS = 20
_FEW = 50_000               # images up to which D overfits, and sees them augmented
_PER_CORE = {32: 500, 64: 150}          # images/s of the DCGAN for CPUs, by px, on one core (docs/results.md)
_LARGEST = {"cpu": 64, "gpu": 256}      # px, trained in hours on a few cores, in days on one GPU


@dataclass(frozen=True)
class Images:
    """What the rules ask of a set.

    Args:
        count: number of images.
        side: median of their shorter sides in pixels, once cropped.
        labels, names: kind of labels, and number of classes or attributes.
        fewest: images of the smallest class.
        prepared: whether they are shards already, and so of one resolution.
        resolution: of shards whose images are not square, such as '64x32'; empty for all others.
    """

    count: int
    side: int
    labels: Literal["none", "class", "attributes", "vectors"] = "none"
    names: int = 0
    fewest: int = 0
    prepared: bool = False
    resolution: str = ""

    def __str__(self) -> str:
        kind = {"none": "no labels", "class": f"{self.names:,} classes", "attributes": f"{self.names} attributes",
                "vectors": "captions"}
        size = self.resolution or self.side
        return f"{self.count:,} images of {'' if self.prepared else 'about '}{size} px, {kind[self.labels]}"


@dataclass(frozen=True)
class Device:
    """One of the devices that train.

    Args:
        kind: cpu or gpu.
        memory: of a GPU, in bytes.
    """

    kind: Literal["cpu", "gpu"]
    memory: int = 0

    def __str__(self) -> str:
        return "CPUs" if self.kind == "cpu" else f"a GPU with {self.memory / 2**30:.0f} GiB"


@dataclass(frozen=True)
class Setting:
    """What a family's own choices depend on; `batch` is the user's, or None."""

    images: Images
    device: Device
    resolution: int
    batch: int | None


@dataclass(frozen=True)
class Choice:
    """One decision: what it is about, what was chosen, why, and the keys that say so in a recipe."""

    about: str
    what: str
    why: str
    keys: dict[str, Any]


def choose(images: Images, device: Device, given: Mapping[str, Any]) -> list[Choice]:
    """The choices for a set and a device, in the order in which they follow from each other.

    Args:
        given: keys that the user has set, as nested dictionaries; the rules go on from those they depend on.

    Raises:
        RecipeError: if there are too few images, or a given value is not one that the rules know.
    """
    if images.count < FEWEST:
        raise RecipeError(f"data.path has {images.count} image{'s' * (images.count != 1)}; recipe=auto needs at least "
                          f"{FEWEST}, and 2,000 or more to learn much: add some, or name a recipe")
    size, why = _resolution(images, device, _look_up(given, "data", "resolution"))
    resolution = min(sides_of(size))
    family, reason = _family(device, _look_up(given, "model", "name"))
    total, until = _length(images, device, resolution, family, _number(given, "total_images"))
    setting = Setting(images, device, resolution, _number(given, "batch_size"))
    return [Choice("resolution", f"{size} px", why, {"data": {"resolution": size}}),
            Choice("mirror", "at random", "data.flip=false if left and right differ, as in text",
                   {"data": {"flip": True}}),
            _labels(images, _look_up(given, "data", "labels")), *_FAMILIES[family](setting, reason),
            Choice("precision", "auto", "bf16 where the device computes it natively, fp32 elsewhere",
                   {"precision": "auto"}),
            Choice("length", f"{total:,} images", until, {"total_images": total}), _reports(total)]


def _look_up(tree: Any, *path: str) -> Any:
    for part in path:
        tree = tree.get(part) if isinstance(tree, Mapping) else None
    return tree


def _number(given: Mapping[str, Any], *path: str) -> int | None:
    """A positive number that the user has set; None for anything else, about which the schema will complain."""
    value = _look_up(given, *path)
    return value if isinstance(value, int) and value > 0 else None


def _resolution(images: Images, device: Device, given: Any) -> tuple[Resolution, str]:
    with suppress(ValueError):      # about a size that is none, the schema will complain
        if given is not None:
            return parse(given), "as given"
    if images.prepared:
        return images.resolution or images.side, "as prepared"
    most = _LARGEST[device.kind]
    fits = max((size for size in (32, 64, 128, 256) if size <= min(images.side, most)), default=32)
    if fits == most:
        return fits, f"the most that {'CPUs train' if device.kind == 'cpu' else 'one GPU trains'} in sensible time"
    return fits, f"the largest power of two that images of about {images.side} px fill"


def _labels(images: Images, given: str | None) -> Choice:
    if given is not None:
        what, why = given, "as given"
    elif images.labels == "class" and images.names < 2:
        what, why = "none", "one class says nothing"
    elif images.labels == "class" and images.fewest < _FEWEST_OF_A_CLASS:
        what, why = "none", f"a class has only {images.fewest} images; each needs {_FEWEST_OF_A_CLASS}"
    elif images.labels == "class":
        what, why = "class", f"{images.names:,} classes of at least {images.fewest:,} images"
    else:
        what, why = images.labels, f"{images.names} attributes" if images.names else \
            "the set has captions" if images.labels == "vectors" else "the set has none"
    return Choice("labels", what, why, {"data": {"labels": what}})


def _family(device: Device, given: str | None) -> tuple[str, str]:
    if given is None:
        return ("dcgan", "lowest mean KID of those tried on small sets") if device.kind == "cpu" else \
            ("stylegan2", "published with these rules; a run this long is untested here")
    if str(given) not in _FAMILIES:
        raise RecipeError(f"model.name={given}: recipe=auto chooses for {', '.join(_FAMILIES)} only; `scalegan "
                          f"recipes` lists recipes for other families{did_you_mean(str(given), _FAMILIES)}")
    return given, "as given"


def _dcgan(to: Setting, why: str) -> list[Choice]:
    width, batch = (32, to.batch or 32) if to.device.kind == "cpu" else (64, to.batch or 64)
    return [
        Choice("networks", f"DCGAN, width {width}", why,
               {"model": {"name": "dcgan", "width": width, "latent_dim": 100, "norm_group": 16}}),
        Choice("objective", "non-saturating", "as published, with Adam at 2e-4, betas 0.5 and 0.999",
               {"game": {"name": "gan", "loss": "non_saturating"}, "optimizer": _adam(2e-4, 0.5, 0.999)}),
        _diffaugment(to.images), _batch(batch, 32 if to.device.kind == "cpu" else batch), _average(10_000)]


def _stylegan2(to: Setting, why: str) -> list[Choice]:
    batch = to.batch or max(4, min(4096 // to.resolution, 32))
    gamma = 0.0002 * to.resolution**2 / batch
    if to.device.kind == "cpu":
        size, most = {"latent_dim": 128, "w_dim": 128, "channel_base": 2048, "channel_max": 128}, batch
    else:
        size = {"channel_base": 16384, "channel_max": 512}
        most = max(4, int(4096 / to.resolution * to.device.memory / 2**34))     # published for 16 GiB
    return [
        Choice("networks", f"StyleGAN2, {size['channel_max']} channels", why,
               {"model": {"name": "stylegan2", **size, "mapping_layers": 2, "mbstd_group": 4}}),
        Choice("objective", f"non-saturating, R1 {gamma:.4g}", "gamma = 0.0002 resolution^2 / batch; Adam at 2.5e-3",
               {"game": {"name": "gan", "loss": "non_saturating", "order": ["G", "D"], "fresh_batch": ["G"],
                         "penalties": {"r1": {"gamma": gamma, "every": 16},
                                       "path_length": {"weight": 2, "decay": 0.99, "every": 4}}},
                "optimizer": _adam(2.5e-3, 0.0, 0.99)}),
        Choice("augment", "ADA", "as much as D's overfitting asks for",
               {"augment": {"name": "ada", "target": 0.6, "adapt_images": 500_000}}),
        _batch(batch, most), _average(batch * 10_000 // 32)]


_FAMILIES: dict[str, Callable[[Setting, str], list[Choice]]] = {"dcgan": _dcgan, "stylegan2": _stylegan2}


def _adam(lr: float, beta1: float, beta2: float) -> dict[str, Any]:
    return {player: {"lr": lr, "betas": [beta1, beta2]} for player in "GD"}


def _diffaugment(images: Images) -> Choice:
    if images.count >= _FEW:
        return Choice("augment", "none", f"{_FEW:,} images or more", {"augment": {"name": "none"}})
    return Choice("augment", "DiffAugment", f"fewer than {_FEW:,} images", {"augment": {"name": "diffaugment"}})


def _batch(batch: int, most: int) -> Choice:
    """A batch that as many ranks can share as leaves four samples, StyleGAN2's groups, to each."""
    lanes, micro_batch = _divisor(batch, batch // 4), _divisor(batch, most)
    return Choice("batch", f"{batch}, at most {micro_batch} at once", f"{lanes} lanes: 1, 2, 4, ... {lanes} ranks "
                  "can share it", {"batch_size": batch, "micro_batch_size": micro_batch, "lanes": lanes})


def _divisor(number: int, most: int) -> int:
    """The largest divisor that is not above `most`, at least 1."""
    return next((size for size in range(min(number, most), 0, -1) if number % size == 0), 1)


def _average(half_life: int) -> Choice:
    return Choice("average", f"half-life {half_life:,} images", "at first a twentieth of the images seen",
                  {"ema": {"half_life_images": half_life, "ramp_up": 0.05}})


def _length(images: Images, device: Device, resolution: int, family: str, given: int | None) -> tuple[int, str]:
    passes, fewest, most = (100, 200_000, 500_000) if device.kind == "cpu" else (1000, 5_000_000, 25_000_000)
    if device.kind == "cpu" and resolution <= 32:
        fewest = most               # as an image costs a third of one of 64 px
    total = given or _round(min(max(passes * images.count, fewest), most))
    rule = f"{passes:,} passes, within {fewest:,} to {most:,}" if fewest < most else f"for any set of {resolution} px"
    why = "as given" if given else rule
    rate = _PER_CORE.get(resolution) if (device.kind, family) == ("cpu", "dcgan") else None
    return total, f"{why}; {total / rate / 60:,.0f} min on one core that does {rate} images/s" if rate else why


def _reports(total: int) -> Choice:
    often, seldom = max(500, _round(total // 200)), max(2_000, _round(total // 25))
    return Choice("reports", f"every {often:,} images", f"a picture and a checkpoint every {seldom:,}",
                  {"log": {"every_images": often}, "snapshot": {"every_images": seldom},
                   "checkpoint": {"every_images": seldom, "keep": 3}})


def _round(number: int) -> int:
    """The largest of 1, 2, 5, 10, 20, 50, ... that is not above `number`, or 1."""
    power = 10 ** (len(str(number)) - 1)
    return max([1, *(step * power for step in (1, 2, 5) if step * power <= number)])
