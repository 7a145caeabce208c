"""YAML files: recipes and profiles. They are bounded, as a few lines of YAML can unfold to gigabytes."""

from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from scalegan.support.reading import DamagedFile, read_text

_LARGEST = 256 << 10    # bytes; a recipe has a few thousand
_DEEPEST = 30
_MOST = 20_000          # values, with aliases unfolded


def read_keys(path: Path, kind: str = "a recipe") -> dict[Any, Any]:
    """The keys of a YAML file; interpolations stay text.

    Raises:
        FileNotFoundError: if there is none.
        DamagedFile: if it is not such a file, has no keys (and so is not of the `kind`), or unfolds to too much.
    """
    text = read_text(path, _LARGEST)
    try:
        _check(path, text, kind)
        tree = OmegaConf.to_container(OmegaConf.create(text), resolve=False)
    except (yaml.YAMLError, OmegaConfBaseException, ValueError, TypeError, AttributeError, OverflowError,
            RecursionError) as error:
        raise DamagedFile(f"cannot read {path}: {' '.join(str(error).split())[:500]}") from error
    if not isinstance(tree, dict) or not tree:
        raise DamagedFile(f"{path} is not {kind}: it must consist of `key: value` lines")
    return tree


class _Open:
    """A list or mapping that is still open: where it began, and its depth so far."""

    def __init__(self, anchor: str | None, begin: int) -> None:
        self.anchor, self.begin, self.depth = anchor, begin, 1


def _check(path: Path, text: str, kind: str) -> None:
    """Raises DamagedFile for excessive nesting or aliases, before anything is built."""
    anchors: dict[str, tuple[int, int]] = {}    # how many values each unfolds to, and how deep
    around: list[_Open] = []
    values = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        if isinstance(event, yaml.NodeEvent) and not values and not isinstance(event, yaml.MappingStartEvent):
            raise DamagedFile(f"{path} is not {kind}: it must consist of `key: value` lines")
        size, depth, anchor = 0, 0, getattr(event, "anchor", None)
        if isinstance(event, yaml.CollectionStartEvent):
            around.append(_Open(anchor, values))
            size = 1
        elif isinstance(event, yaml.CollectionEndEvent):
            ended = around.pop()
            depth = ended.depth
            if ended.anchor is not None:
                anchors[ended.anchor] = values - ended.begin, depth
        elif isinstance(event, yaml.AliasEvent):
            if anchor in [one.anchor for one in around]:
                raise DamagedFile(f"{path}: *{anchor} stands inside &{anchor}; write out what is meant")
            size, depth = anchors.get(anchor, (1, 0))
        elif isinstance(event, yaml.ScalarEvent):
            size = 1
            if anchor is not None:
                anchors[anchor] = 1, 0
        values += size
        if around:
            around[-1].depth = max(around[-1].depth, 1 + depth)
        if len(around) + depth > _DEEPEST:
            raise DamagedFile(f"{path} is nested more than {_DEEPEST} deep")
        if values > _MOST:
            raise DamagedFile(f"{path} unfolds to more than {_MOST:,} values; write out those that are meant")
