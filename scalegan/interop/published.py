"""The players of a file that another implementation wrote, in our layout."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from scalegan import interop
from scalegan.errors import UserError
from scalegan.interop import checkpoint_files
from scalegan.interop.reference import unwrapped

State = dict[str, Tensor]

#: Keys of a published file's networks: the averaged generator, the generator, the discriminator.
_KEYS = {"average": ("G_ema", "g_ema", "ema", "params_ema", "generator_ema", "netG_ema"),
         "G": ("G", "g", "netG", "generator", "gen", "params"),
         "D": ("D", "d", "netD", "discriminator", "disc")}
#: The families whose published layouts are known, with the name under which `scalegan.interop` has them.
_LAYOUTS = {"dcgan": "dcgan", "biggan": "biggan", "biggan_deep": "biggan", "stylegan2": "stylegan2", "r3gan": "r3gan",
            "gat": "gat", "stargan": "stargan"}


def beside(content: Any) -> dict[str, State]:
    """The networks beside the one that `convert` takes from a file: D, and G where that one is its average."""
    found = {}
    for what, keys in _KEYS.items():
        with suppress(UserError):       # under a usual name, but no tensors
            found[what] = _below(content, keys)
    return {what: found[what] for what in ("G", "D") if found.get(what) and (what == "D" or found.get("average"))}


def discriminator_of(content: Any) -> State:
    """The discriminator's tensors of a file that holds it alone or with others.

    Raises:
        UserError: if it holds several networks, and none under a usual name.
    """
    return _below(content, _KEYS["D"]) or checkpoint_files.state_dict(content)


def players(path: Path, family: str) -> dict[str, nn.Module]:
    """The networks in the file: G, D and the averaged generator as "average", as far as it has them.

    Raises:
        UserError: in one line, if the file cannot be read, or is not of this family.
    """
    if family not in _LAYOUTS:
        raise UserError(f"{path} is not a file that `scalegan export` wrote, and no published layout of "
                        f"model.name={family} is known; name an export, a run or a checkpoint")
    content = checkpoint_files.read(path)
    found = {what: _below(content, keys) for what, keys in _KEYS.items()}
    if not any(found.values()):     # one network's tensors alone
        tensors = checkpoint_files.state_dict(content)
        found = {_player_of(tensors, family): tensors}
    return {what: _converted(path, tensors, family, "discriminator" if what == "D" else "generator")
            for what, tensors in found.items() if tensors}


def _below(content: Any, keys: tuple[str, ...]) -> State | None:
    """The tensors of the network that one of the keys names; None if there is no such key."""
    if not isinstance(content, Mapping):
        return None
    key = next((name for key in keys for name in (key, f"{key}_state_dict") if name in content), None)
    found = None if key is None else checkpoint_files.with_average(content, content[key])
    return checkpoint_files.state_dict(found) if isinstance(found, Mapping | checkpoint_files.Record) and found \
        else None


def _player_of(tensors: State, family: str) -> str:
    """Whose tensors these are: D's if they fit a discriminator, otherwise taken for G's."""
    try:
        getattr(interop, f"{_LAYOUTS[family]}_discriminator")(tensors)
        return "D"
    except (ValueError, RuntimeError, TypeError):
        return "G"


def _converted(path: Path, tensors: State, family: str, player: str) -> nn.Module:
    try:
        return getattr(interop, f"{_LAYOUTS[family]}_{player}")(tensors).float()
    except (ValueError, RuntimeError, TypeError) as error:
        first = next(iter(unwrapped(tensors)), "nothing")
        raise UserError(f"{path} holds no {player} of model.name={family} in its published layout: "
                        f"{str(error).splitlines()[0]} (its first tensor is {first}); set model.name to its family, or "
                        "name other weights") from error
