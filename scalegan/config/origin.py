"""Where a wrong key comes from: the recipe's file, or the command line that overrides it."""

import re
from dataclasses import dataclass, field
from typing import Any

COMMAND_LINE = "command line"


@dataclass(frozen=True)
class Origin:
    """A recipe's file, and the keys that the command line overrides, as nested dictionaries."""

    file: str
    overrides: dict[str, Any] = field(default_factory=dict)

    def of_key(self, key: str) -> str:
        """Where to look for what is wrong with one dotted key."""
        tree: Any = self.overrides
        for part in key.split("."):
            if not isinstance(tree, dict):
                break       # a whole group was given as one value
            if part not in tree:
                return self.file
            tree = tree[part]
        return self._both if isinstance(tree, dict) else COMMAND_LINE

    def of_combination(self, message: str) -> str:
        """Where to look for what is wrong with the keys that `message` names."""
        overridden = any(re.search(rf"(?<![\w.]){re.escape(key)}(?![\w])", message) for key in _dotted(self.overrides))
        return self._both if overridden else self.file

    @property
    def _both(self) -> str:
        return COMMAND_LINE if self.file == COMMAND_LINE else f"{self.file} and {COMMAND_LINE}"


def _dotted(tree: dict[str, Any], prefix: str = "") -> list[str]:
    found = []
    for key, value in tree.items():
        found.append(prefix + key)
        if isinstance(value, dict):
            found += _dotted(value, f"{prefix}{key}.")
    return found
