"""Networks for other runtimes (ONNX, TorchScript, `torch.export`), compared with the networks they were made from."""

import contextlib
import copy
import json
import logging
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor, nn
from torch.autograd import Function

from scalegan.data.spec import Spec
from scalegan.errors import UserError
from scalegan.games.sampling import latents, style_of
from scalegan.models.layers.spectral import SpectralWeight
from scalegan.randomness import Draws
from scalegan.support.files import replacing

OPSET = 20
TOLERANCE = 1e-4        # of a difference, relative to the largest output
_BATCHES = (1, 2, 5)    # sizes that are compared
_TRACED = 3             # samples in the batch that is traced
_MULTIPLES = 4          # sides of its images, in multiples of what a network needs

Run = Callable[[Sequence[Tensor]], Tensor]


class Deployed(nn.Module):
    """A network as other runtimes call it: with its inputs in order, noise constant, no truncation, and the weights
    that spectral normalisation gives it, so that they are not computed anew for every batch."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.style = style_of(network) if _inputs(network)[0] == "z" else {}
        self.network = copy.deepcopy(network)
        for module in list(self.network.modules()):
            for name, child in module.named_children():
                if isinstance(child, SpectralWeight):
                    setattr(module, name, child.folded())
        self.requires_grad_(False)

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.network(*inputs, **self.style)


def write(network: nn.Module, path: Path, kind: str) -> float:
    """Writes a network, as `scalegan.load` returns it, for a batch of any size; networks from images of any size to
    images also take any height and width, in multiples of what the network needs.

    Args:
        kind: "onnx" (of opset `OPSET`), "torchscript" or "torch-export".

    Returns:
        The largest difference of an output from the network's own, over batches of 1, 2 and 5, relative to the largest
        absolute output.

    Raises:
        UserError: if the network cannot be written so, or its outputs differ by more than `TOLERANCE`. There is no file
            then.
    """
    save, load = _KINDS[kind]
    module = Deployed(network).eval()
    named = f"network '{network.about['network']}' as {kind}"
    try:
        with _quietly(), torch.no_grad(), replacing(path) as unfinished:
            module(*_examples(network, _TRACED))    # so that what layers keep between calls are tensors with values
            save(module, network, unfinished)
            run = load(unfinished)
            difference = max(_difference(network(*inputs, **module.style), run(inputs))
                             for inputs in (_examples(network, count) for count in _BATCHES))
            if not difference <= TOLERANCE:
                raise UserError(f"{named}: outputs differ by {difference:.1g} of the largest from those of PyTorch, "
                                f"more than {TOLERANCE:g}; nothing was written")
    except ImportError as error:
        raise UserError(f"{named} needs {error.name}; install it with `pip install scalegan[runtimes]`") from error
    except UserError:
        raise
    except Exception as error:      # exporters raise whatever they meet
        raise UserError(f"{named}: {_first_line(error)}; --format safetensors writes every network") from error
    return difference


def signature(network: nn.Module, kind: str) -> str:
    """What a file of that kind takes and gives, such as "z, condition -> image (opset 20)"."""
    opset = f" (opset {OPSET})" if kind == "onnx" else ""
    return f"{', '.join(_inputs(network))} -> {network.about['export']['output']}{opset}"


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _difference(expected: Tensor, found: Tensor) -> float:
    if found.shape != expected.shape or not found.isfinite().equal(expected.isfinite()):
        return math.inf
    return float((found - expected).abs().max() / expected.abs().max().clamp_min(1e-30))


def _inputs(network: nn.Module) -> tuple[str, ...]:
    """The names of its inputs: those of its export, without a condition where its samples have none."""
    named, spec = network.about["export"]["inputs"], Spec.of(network.about["spec"])
    return tuple(name for name in named if name != "condition" or spec.conditional)


def _examples(network: nn.Module, count: int) -> list[Tensor]:
    return [_example(network, name, Draws(0, 0, "runtimes", torch.arange(count))) for name in _inputs(network)]


def _example(network: nn.Module, name: str, draws: Draws) -> Tensor:
    spec = Spec.of(network.about["spec"])
    if name == "z":
        return latents(network, draws)
    if name == "condition":
        labels = len(getattr(network, "names", ())) or spec.num_classes or spec.vector_dim      # or some attributes
        return draws.integers(name, spec.classes) if spec.classes else draws.uniform(name, labels)
    if hasattr(network, "scale"):
        return draws.uniform(name, _channels(network), *[_MULTIPLES * network.multiple] * 2) * 2 - 1
    return draws.uniform(name, *_input_shape(network)) * 2 - 1


def _channels(network: nn.Module) -> int:
    """Channels of the images that a network from image to image takes, perhaps with planes of labels."""
    first = next(layer.in_channels for layer in network.modules() if isinstance(layer, nn.Conv2d))
    return 1 if (first - len(getattr(network, "names", ()))) % 3 else 3


def _input_shape(network: nn.Module) -> tuple[int, ...]:
    """Of an image for a network that takes those of one size: its own, or those of its game's first stream."""
    return getattr(network, "input_shape", None) or tuple(next(iter(network.about["specs"].values()))["shape"])


def _dimensions(network: nn.Module) -> tuple[dict[int, object], ...]:
    """By input, which of its dimensions are free."""
    batch = torch.export.Dim("batch")
    if not hasattr(network, "scale"):
        return tuple({0: batch} for _ in _inputs(network))
    height, width = (network.multiple * torch.export.Dim(side) for side in ("height", "width"))
    return tuple({0: batch} if name == "condition" else {0: batch, 2: height, 3: width} for name in _inputs(network))


def _program(module: nn.Module, network: nn.Module) -> torch.export.ExportedProgram:
    return torch.export.export(module, tuple(_examples(network, _TRACED)), dynamic_shapes=(_dimensions(network),))


def _save_onnx(module: nn.Module, network: nn.Module, path: Path) -> None:
    names = _inputs(network)
    program = torch.onnx.export(_program(module, network), input_names=list(names), opset_version=OPSET,
                                output_names=["output"], dynamo=True, verbose=False)
    program.model.metadata_props["scalegan"] = json.dumps(_description(network))
    program.save(path)


def _load_onnx(path: Path) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    return lambda inputs: torch.from_numpy(session.run(None, dict(zip(names, (each.numpy() for each in inputs))))[0])


def _save_program(module: nn.Module, network: nn.Module, path: Path) -> None:
    with path.open("wb") as file:
        torch.export.save(_program(module, network), file,
                          extra_files={"scalegan.json": json.dumps(_description(network))})


def _load_program(path: Path) -> Run:
    with path.open("rb") as file:
        module = torch.export.load(file).module()
    return lambda inputs: module(*inputs)


def _save_script(module: nn.Module, network: nn.Module, path: Path) -> None:
    with mock.patch.object(Function, "apply", classmethod(_forward_alone)):
        traced = torch.jit.trace(module, tuple(_examples(network, _TRACED)), check_trace=False)
    torch.jit.save(traced, str(path), _extra_files={"scalegan.json": json.dumps(_description(network))})


def _forward_alone(function: type[Function], *inputs: object) -> object:
    """In place of `Function.apply`, which TorchScript cannot hold: the operations of its forward pass."""
    return function.forward(_Context(), *inputs)


class _Context:
    """Takes what a forward pass keeps for its backward pass."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *values, **named: None


def _load_script(path: Path) -> Run:
    module = torch.jit.load(str(path), map_location="cpu")
    return lambda inputs: module(*inputs)


def _description(network: nn.Module) -> dict[str, object]:
    """What the file says of the network; without the recipe, which may name folders."""
    about = network.about
    return {"network": about["network"], "game": about["recipe"]["game"]["name"], "model": about["model"],
            "inputs": _inputs(network), "output": about["export"]["output"], "spec": about["spec"],
            "images": about["images"]}


_KINDS = {"onnx": (_save_onnx, _load_onnx), "torchscript": (_save_script, _load_script),
          "torch-export": (_save_program, _load_program)}


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without the notes that PyTorch and its exporters print for their own developers."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels):
                logger.setLevel(level)
