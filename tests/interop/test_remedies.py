"""Weights in a form that is not read: one line that says what to do."""

import argparse
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from scalegan.checkpoints import exports
from scalegan.commands.convert import main
from scalegan.data.spec import Spec
from scalegan.errors import UserError
from scalegan.models import dcgan


class Net(nn.Sequential):
    """A class that only its author has."""


def wavelets(path: Path) -> None:
    """SWAGAN's, as rosinality's train.py saves it: networks, and the command line's arguments."""
    names = ("input.input", "style.1.weight", "conv1.conv.modulation.weight", "to_rgbs.0.iwt.ll")
    torch.save({"g": {}, "g_ema": {name: torch.ones(2, 2) for name in names}, "args": argparse.Namespace(size=8)}, path)


def exported(path: Path) -> None:
    exports.save(exports.of_model(dcgan.Generator(16, 3, 4, 8), {"name": "dcgan", "width": 4, "latent_dim": 8},
                                  Spec("image", (3, 16, 16)), 0), path)


FILES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "a TensorFlow pickle": ("x.pkl", lambda path: path.write_bytes(b"cdnnlib.tflib.network\nNetwork\n(tR."),
                            "convert it with `python legacy.py --source=FILE.pkl --dest=OUT.pkl`"),
    "three of them": ("x.pkl", lambda path: path.write_bytes(b"(cdnnlib.tflib.network\nNetwork\n(tRt."), "legacy.py"),
    "a whole module": ("x.pth", lambda path: torch.save(Net(nn.Linear(2, 2)), path), "save the generator's tensors"),
    "a whole module, in the old format": (
        "x.pth", lambda path: torch.save(Net(nn.Linear(2, 2)), path, _use_new_zipfile_serialization=False),
        "save the generator's tensors alone, with torch.save(generator.state_dict()"),
    "a whole module of torch's": ("x.pt", lambda path: torch.save({"G": nn.Sequential(nn.ReLU())}, path),
                                  "asks for torch.nn.modules.container.Sequential"),
    "a whole module, pickled": ("x.pkl", lambda path: path.write_bytes(pickle.dumps(Net(nn.Linear(2, 2)))),
                                "save the generator's tensors alone"),
    "NumPy beside the tensors": ("x.pth", lambda path: torch.save({"G": {}, "best": __import__("numpy").float64(1)},
                                                                  path), "save the generator's tensors alone"),
    "rosinality's SWAGAN": ("x.pt", wavelets, "only StyleGAN2 is supported"),
    "text": ("x.pt", lambda path: path.write_text("# notes"), "is not a file from torch.save; name one (.pt, .pth"),
    "our own export": ("x.safetensors", exported, "is an export of ScaleGAN already"),
    "a run": ("run", Path.mkdir, "there is `scalegan export"),
}


@pytest.mark.parametrize("kind", FILES)
def test_it_says_what_to_do(kind: str, tmp_path: Path) -> None:
    name, write, says = FILES[kind]
    write(tmp_path / name)
    with pytest.raises(UserError) as error:
        main([str(tmp_path / name), "--family", "stylegan2", "--out", str(tmp_path / "out.safetensors")])
    assert says in str(error.value) and "\n" not in str(error.value) and error.value.exit_code == 1
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize("name", ["netG.pth", "network.pkl", "weights.safetensors"])
def test_other_weights_are_sent_to_convert(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"other weights")
    with pytest.raises(UserError, match="there is `scalegan convert`"):
        exports.load(tmp_path / name)


def test_a_trainers_arguments_do_not_hide_its_weights(tmp_path: Path) -> None:
    from scalegan.interop import checkpoint_files

    torch.save({"netG": {"w": torch.ones(2)}, "args": argparse.Namespace(lr=1)}, tmp_path / "x.pt")
    assert checkpoint_files.state_dict(checkpoint_files.read(tmp_path / "x.pt"))["w"].tolist() == [1, 1]
