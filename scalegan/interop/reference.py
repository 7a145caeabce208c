"""A reference implementation's state dict, read by name."""

import re
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

State = Mapping[str, Tensor]
#: Prefixes that DataParallel and torch.compile give to all names.
WRAPPERS = ("module.", "_orig_mod.")


class Reference:
    """A state dict that is read by name and keeps track of unused tensors."""

    def __init__(self, state: State, what: str, wrappers: Iterable[str] = WRAPPERS, ignored: str = "$^") -> None:
        self.what, self.tensors = what, unwrapped(state, wrappers)
        for name, value in self.tensors.items():
            if not isinstance(value, Tensor):
                raise ValueError(f"{what}: {name!r} is a {type(value).__name__}, not a tensor; "
                                 "pass the network's own state dict")
        self.left = {name for name in self.tensors if not re.search(ignored, name)}

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def take(self, *names: str) -> Tensor:
        """The first of these tensors that exists."""
        for name in names:
            if name in self.tensors:
                self.left.discard(name)
                return self.tensors[name]
        raise ValueError(f"this is not a state dict of {self.what}: {names[0]!r} is missing")

    def shape(self, name: str, axes: int) -> torch.Size:
        if name not in self.tensors:
            raise ValueError(f"this is not a state dict of {self.what}: {name!r} is missing")
        shape = self.tensors[name].shape
        if len(shape) != axes:
            raise ValueError(f"{self.what}: {name!r} should have {axes} axes, but its shape is {list(shape)}")
        if 0 in shape:
            raise ValueError(f"{self.what}: {name!r} is empty, as its shape is {list(shape)}")
        return shape

    def indices(self, pattern: str) -> list[int]:
        """The sorted integers that the pattern's group matches in the tensor names."""
        found = {int(match[1]) for name in self.tensors if (match := re.fullmatch(pattern, name))}
        return sorted(found)

    def count(self, pattern: str) -> int:
        """The number of items with names of this pattern, which must be numbered from 0 without gaps."""
        found = self.indices(pattern)
        if not found or found != list(range(len(found))):
            first = pattern.replace(r"(\d+)", "0").replace("\\", "")
            raise ValueError(f"this is not a state dict of {self.what}: {first!r}, or a later one, is missing")
        return len(found)

    def fill(self, build: Callable[[], nn.Module], tensor_for: Callable[[str], Tensor | None]) -> nn.Module:
        """Builds the model and gives each name of its state dict the reference's tensor, or zeros for None; in eval
        mode."""
        with torch.device("meta"):              # no weights are drawn, and every buffer comes from the reference
            model = build()
        values = {}
        for name, own in model.state_dict().items():
            value = tensor_for(name)
            if value is None:
                value = next(iter(self.tensors.values())).new_zeros(own.shape)
            if value.shape != own.shape:
                raise ValueError(f"{self.what}: the tensor for {name} should be {list(own.shape)}, "
                                 f"but is {list(value.shape)}")
            wide = torch.promote_types(value.dtype, torch.float32)
            values[name] = value.detach().to(wide, copy=True).contiguous()
        if self.left:
            raise ValueError(f"{self.what}: {min(self.left)!r} has no counterpart in our network "
                             f"({len(self.left)} such tensors)")
        model.load_state_dict(values, assign=True)
        return model.eval()


def unwrapped(state: State, wrappers: Iterable[str] = WRAPPERS) -> dict[str, Tensor]:
    """The state dict without prefixes that all names share."""
    state = dict(state)
    while wrapper := next((one for one in wrappers if state and all(name.startswith(one) for name in state)), None):
        state = {name.removeprefix(wrapper): value for name, value in state.items()}
    return state


def renamed(name: str, rules: Iterable[tuple[str, str | Callable[[re.Match], str]]]) -> str:
    """Another name for a tensor: applies every rule, a pattern and its replacement, in turn."""
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name
