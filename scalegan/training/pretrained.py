"""Weights that a run may begin with: of an export, a run, a checkpoint, or a file that another implementation wrote."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from scalegan.checkpoints import exports, store
from scalegan.checkpoints.stored_weights import LIVE, of_players
from scalegan.data.spec import Spec
from scalegan.errors import UserError
from scalegan.interop import published

State = dict[str, Tensor]


@dataclass(frozen=True)
class Pretrained:
    """Players' weights.

    Args:
        live, averages: state dicts by player, either of which a player may lack.
        labels: number of classes or attributes that its players were trained with; 0 for none.
        images: real images that they were trained on; 0 if that is not known.
        digest: SHA-256 over all tensors.
        label_names: of these classes or attributes, in order; empty if unknown.
    """

    live: Mapping[str, State]
    averages: Mapping[str, State]
    labels: int
    images: int
    digest: str
    label_names: tuple[str, ...] = ()


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
    return _checked(path, live, averages, spec.num_classes, about["images"], spec.label_names)


def _is_export(path: Path) -> bool:
    try:
        with safe_open(path, "pt") as file:
            return "scalegan" in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


def _published(path: Path, family: str) -> Pretrained:
    networks = published.players(path, family)
    live = {player: networks[player].state_dict() for player in "GD" if player in networks}
    averages = {"G": networks["average"].state_dict()} if "average" in networks else {}
    labels = max(getattr(network, "num_classes", 0) for network in networks.values())
    return _checked(path, live, averages, labels, 0)


def _checked(path: Path, live: Mapping[str, State], averages: Mapping[str, State], labels: int, images: int,
             label_names: tuple[str, ...] = ()) -> Pretrained:
    tensors = {f"{player}{mark}/{name}": tensor for mark, group in ((LIVE, live), ("", averages))
               for player, state in group.items() for name, tensor in state.items()}
    sick = next((name for name, tensor in tensors.items()
                 if tensor.is_floating_point() and not tensor.isfinite().all()), None)
    if sick:
        raise UserError(f"{path}: {sick} has values that are not finite (NaN or infinite), as training that diverged "
                        "leaves behind; name an earlier checkpoint")
    return Pretrained(live, averages, labels, images, store.digest(tensors), label_names)
