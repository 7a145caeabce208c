"""Weights that a run may begin with: of an export, a run, a checkpoint, or a file that another implementation wrote."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from scalegan import interop
from scalegan.checkpoints import exports, store
from scalegan.checkpoints.stored_weights import LIVE, of_players
from scalegan.data.spec import Spec
from scalegan.errors import UserError
from scalegan.interop import checkpoint_files, remedies
from scalegan.interop.reference import unwrapped

State = dict[str, Tensor]

#: Keys of a published file's networks: the averaged generator, the generator, the discriminator.
_KEYS = {"average": ("G_ema", "g_ema", "ema", "params_ema", "generator_ema", "netG_ema"),
         "G": ("G", "g", "netG", "generator", "gen", "params"),
         "D": ("D", "d", "netD", "discriminator", "disc")}
#: The families whose published layouts are known, with the name under which `scalegan.interop` has them.
_LAYOUTS = {"dcgan": "dcgan", "biggan": "biggan", "biggan_deep": "biggan", "stylegan2": "stylegan2", "r3gan": "r3gan",
            "stargan": "stargan"}


@dataclass(frozen=True)
class Pretrained:
    """Players' weights.

    Args:
        live, averages: state dicts by player, either of which a player may lack.
        labels: number of classes or attributes that its players were trained with; 0 for none.
        images: real images that they were trained on; 0 if that is not known.
        digest: SHA-256 over all tensors.
    """

    live: Mapping[str, State]
    averages: Mapping[str, State]
    labels: int
    images: int
    digest: str


def read(path: Path, family: str) -> Pretrained:
    """Reads the players' weights; those of a published file as `scalegan convert` reads them.

    Args:
        family: the `model.name` of the run that begins with them.

    Raises:
        UserError: in one line, if there are none, they are another family's, damaged or not finite.
    """
    if path.is_dir() or not path.exists():
        path = exports.newest(path)
        about = exports.about_run(path, store.metadata_of(path))
        weights = of_players(path, about)
    elif _is_export(path):
        about, weights = exports.read_export(path)
    else:
        return _published(path, family)
    own = about["recipe"]["model"]["name"]
    if own != family:
        raise UserError(f"{path} holds networks of model.name={own}, not {family}; set model.name={own} and its other "
                        "keys, or name weights of that family")
    spec = Spec.of(about["specs"][about["target"] or next(iter(about["specs"]))])
    live: dict[str, State] = {}
    averages: dict[str, State] = {}
    for name, tensor in weights.items():
        part, _, rest = name.partition("/")
        group = averages if part in about["averaged"] else live
        group.setdefault(part.removesuffix(LIVE), {})[rest] = tensor
    return _checked(path, live, averages, spec.num_classes, about["images"])


def _is_export(path: Path) -> bool:
    try:
        with safe_open(path, "pt") as file:
            return "scalegan" in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


def _published(path: Path, family: str) -> Pretrained:
    """The players of a file that another implementation wrote, in our layout."""
    if family not in _LAYOUTS:
        raise UserError(f"{path} is not a file that `scalegan export` wrote, and no published layout of "
                        f"model.name={family} is known; name an export, a run or a checkpoint")
    content = checkpoint_files.read(path)
    found = {what: _below(content, keys) for what, keys in _KEYS.items()}
    if not any(found.values()):     # one network's tensors alone
        tensors = checkpoint_files.state_dict(content)
        found = {_player_of(tensors, family): tensors}
    networks = {what: _converted(path, tensors, family, "discriminator" if what == "D" else "generator")
                for what, tensors in found.items() if tensors}
    live = {player: networks[player].state_dict() for player in "GD" if player in networks}
    averages = {"G": networks["average"].state_dict()} if "average" in networks else {}
    return _checked(path, live, averages, next((n for net in networks.values() if (n := _labels(net))), 0), 0)


def _below(content: Any, keys: tuple[str, ...]) -> State | None:
    """The tensors of the network that one of the keys names; None if there is no such key."""
    if not isinstance(content, Mapping):
        return None
    key = next((name for key in keys for name in (key, f"{key}_state_dict") if name in content), None)
    found = None if key is None else content[key]
    return checkpoint_files.state_dict(found) if isinstance(found, Mapping | checkpoint_files.Record) and found \
        else None


def _player_of(tensors: State, family: str) -> str:
    """Whose tensors these are: D's if they fit a discriminator, otherwise taken for G's."""
    try:
        getattr(interop, f"{_LAYOUTS[family]}_discriminator")(tensors)
        return "D"
    except (ValueError, RuntimeError, TypeError):
        return "G"


def _converted(path: Path, tensors: State, family: str, player: str) -> Any:
    remedy = remedies.of_names(tensors)
    if remedy:
        raise UserError(f"{path}: {remedy}")
    try:
        return getattr(interop, f"{_LAYOUTS[family]}_{player}")(tensors).float()
    except (ValueError, RuntimeError, TypeError) as error:
        first = next(iter(unwrapped(tensors)), "nothing")
        raise UserError(f"{path} holds no {player} of model.name={family} in its published layout: "
                        f"{str(error).splitlines()[0]} (its first tensor is {first}); set model.name to its family, or "
                        "name other weights") from error


def _labels(network: Any) -> int:
    return getattr(network, "num_classes", 0) or 0


def _checked(path: Path, live: Mapping[str, State], averages: Mapping[str, State], labels: int, images: int,
             ) -> Pretrained:
    tensors = {f"{player}{mark}/{name}": tensor for mark, group in ((LIVE, live), ("", averages))
               for player, state in group.items() for name, tensor in state.items()}
    sick = next((name for name, tensor in tensors.items()
                 if tensor.is_floating_point() and not tensor.isfinite().all()), None)
    if sick:
        raise UserError(f"{path}: {sick} has values that are not finite (NaN or infinite), as training that diverged "
                        "leaves behind; name an earlier checkpoint")
    return Pretrained(live, averages, labels, images, store.digest(tensors))
