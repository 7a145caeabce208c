"""Converting other implementations' checkpoints: every family, every kind of file, and what must not run."""

import contextlib
import os
import pickle
import sys
import types
from pathlib import Path

import pytest
import torch
from harness import cli
from models.test_biggan import generator_state as biggan_state
from models.test_biggan_deep import discriminator_state as deep_discriminator_state
from models.test_biggan_deep import generator_state as deep_state
from models.test_gat import generator_state as gat_state
from models.test_r3gan import generator_state as r3gan_state
from models.test_stylegan2 import CASES, generator_shapes, state_of
from safetensors.torch import save_file
from test_dcgan_parity import generator_state as dcgan_state
from torch import Tensor

import scalegan
from scalegan import interop
from scalegan.commands import sample
from scalegan.commands.convert import main
from scalegan.errors import UserError
from scalegan.games.sampling import latents, style_of
from scalegan.randomness import Draws

STATES = {
    "dcgan": (dcgan_state(), []),
    "biggan, hierarchical": (biggan_state((64, 64, 32, 16, 8), classes=3, first=5, shared=6, chunk=5, attention=(2,)),
                             ["bn_eps=1e-4"]),
    "biggan, 32 px": (biggan_state((16, 16, 16, 16), classes=3, first=12), []),
    "biggan, deep": (deep_state((64, 64, 32, 16, 8), classes=3, latent=10, shared=6, attention=(5,)), ["bn_eps=1e-4"]),
    "biggan, deep, without spectral norm": ({
        name: value for name, value in deep_state((16, 16, 16, 16), classes=3, latent=10, shared=6).items()
        if not name.endswith((".u0", ".sv0"))}, []),
    "stylegan2": (state_of(generator_shapes(**CASES["uncond-orig"])), []),
    "stylegan2, by class": (state_of(generator_shapes(**CASES["cond-resnet-clamped"])), ["conv_clamp=1.0"]),
    "stylegan2, not clamped": (state_of(generator_shapes(**CASES["cond-resnet-clamped"])),
                               ["conv_clamp=null", "mapping_lr_multiplier=0.1"]),
    "gat": (gat_state(), []),
    "r3gan": (r3gan_state((16, 16, 8, 4), (4, 4, 2, 1), (1, 2, 2, 1), latent=6), []),
    "r3gan, by class": (r3gan_state((16, 16, 8), (4, 4, 2), (1, 2, 2), latent=6, classes=3, embedding=5), []),
}


def narrow(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.float() if value.is_floating_point() else value for name, value in state.items()}


@torch.no_grad()
def images_of(generator: torch.nn.Module, num_classes: int) -> Tensor:
    draws = Draws(0, 0, "test", torch.arange(4))
    labels = torch.arange(4) % num_classes if num_classes else None
    return generator(latents(generator, draws), labels, **style_of(generator))


@pytest.mark.parametrize("case", STATES)
def test_an_export_makes_the_images_of_the_checkpoint(case: str, tmp_path: Path) -> None:
    state, settings = STATES[case]
    family = case.split(",")[0]
    save_file(narrow(state), tmp_path / "theirs.safetensors")
    arguments = [str(tmp_path / "theirs.safetensors"), "--family", family, "--out", str(tmp_path / "ours.safetensors")]
    assert main([*arguments, *settings, "--images", "7"]) == 0
    loaded = scalegan.load(tmp_path / "ours.safetensors")
    keywords = {key: None if value == "null" else float(value)
                for key, _, value in (setting.partition("=") for setting in settings)}
    expected = getattr(interop, f"{family}_generator")(narrow(state), **keywords)
    classes = loaded.about["spec"]["classes"]
    assert loaded.about["images"] == 7
    assert torch.equal(images_of(loaded, classes), images_of(expected, classes))
    assert sample.main([str(tmp_path / "ours.safetensors"), "--seeds", "0-3", "--out", str(tmp_path / "drawn")]) == 0


@pytest.mark.parametrize("nest, key", [
    (lambda s: s, None), (lambda s: {"G_ema": s, "D": {}}, None), (lambda s: {"netG_state_dict": s, "epoch": 3}, None),
    (lambda s: {"state_dict": {f"netG.{k}": v for k, v in s.items()}}, "state_dict.netG"),
    (lambda s: {"a": {"b": {f"module.{k}": v for k, v in s.items()}}}, "a.b"),
], ids=["bare", "average first", "suffixed key", "prefix of names", "nested and wrapped"])
@pytest.mark.parametrize("suffix", [".pt", ".tar"])
def test_networks_are_found_in_what_people_save(nest, key, suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"weights{suffix}"
    torch.save(nest(dcgan_state()), file)
    out = tmp_path / "out.safetensors"
    assert main([str(file), "--family", "dcgan", "--out", str(out), *(["--key", key] if key else [])]) == 0
    assert scalegan.load(out).about["spec"]["shape"] == [3, 64, 64]


# --- pickles --------------------------------------------------------------------------------------------------------


class Touch:
    """Pickles as a call that creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def _reconstruct_persistent_obj(meta):
    raise AssertionError("the stand-in was called")


class Plain:
    """A module with a state dict's tensors; pickles as a class without source text."""

    def __init__(self, state: dict[str, Tensor], source: str) -> None:
        self.source, self._modules, self._parameters, self._buffers = source, {}, {}, {}
        self._non_persistent_buffers_set = set()
        below: dict[str, dict[str, Tensor]] = {}
        for name, value in state.items():
            first, _, rest = name.partition(".")
            if rest:
                below.setdefault(first, {})[rest] = value
            elif name in ("w_avg", "noise_const", "resample_filter"):
                self._buffers[name] = value
            else:
                self._parameters[name] = torch.nn.Parameter(value)
        self._modules = {name: type(self)(part, source) for name, part in below.items()}


class Persistent(Plain):
    """Pickles as the official code's persistent classes do: their source text and their state."""

    def __reduce__(self):
        meta = {"type": "class", "version": 6, "module_src": self.source, "class_name": "Generator",
                "state": self.__dict__}
        return sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, (meta,)


@contextlib.contextmanager
def stand_ins():
    """Modules that exist when a pickle is written, but not when it is read."""
    made = {"torch_utils": types.ModuleType("torch_utils"),
            "torch_utils.persistence": types.ModuleType("torch_utils.persistence"),
            "R3GAN": types.ModuleType("R3GAN"), "R3GAN.Networks": types.ModuleType("R3GAN.Networks")}
    made["torch_utils.persistence"]._reconstruct_persistent_obj = _reconstruct_persistent_obj
    made["R3GAN.Networks"].Plain = Plain
    homes = _reconstruct_persistent_obj.__module__, Plain.__module__
    _reconstruct_persistent_obj.__module__, Plain.__module__ = "torch_utils.persistence", "R3GAN.Networks"
    sys.modules.update(made)
    try:
        yield
    finally:
        _reconstruct_persistent_obj.__module__, Plain.__module__ = homes
        for name in made:
            del sys.modules[name]


@pytest.mark.parametrize("protocol", [2, 4])
def test_nvidias_pickles_are_read_without_running_their_source(protocol: int, tmp_path: Path) -> None:
    source = f"import os; os.mkdir({str(tmp_path / 'ran')!r})"
    state = narrow(STATES["stylegan2, by class"][0])
    with stand_ins(), (tmp_path / "network.pkl").open("wb") as file:
        pickle.dump({"G": None, "D": None, "G_ema": Persistent(state, source)}, file, protocol)
    out = tmp_path / "out.safetensors"
    assert main([str(tmp_path / "network.pkl"), "--family", "stylegan2", "--resolution", "64",
                         "--out", str(out), "conv_clamp=1.0"]) == 0
    assert not (tmp_path / "ran").exists()
    expected = interop.stylegan2_generator(state, conv_clamp=1.0)
    assert torch.equal(images_of(scalegan.load(out), 5), images_of(expected, 5))


def test_networks_within_persistent_ones_are_read_as_records(tmp_path: Path) -> None:
    state = narrow(STATES["r3gan"][0])
    with stand_ins(), (tmp_path / "network.pkl").open("wb") as file:
        outer = Persistent({}, "")
        outer._modules["Model"] = Plain(state, "")
        pickle.dump({"G_ema": outer}, file)
    out = tmp_path / "out.safetensors"
    assert main([str(tmp_path / "network.pkl"), "--family", "r3gan", "--out", str(out)]) == 0
    assert torch.equal(images_of(scalegan.load(out), 0), images_of(interop.r3gan_generator(state), 0))


@pytest.mark.parametrize("place", ["alone", "beside", "inside"])
@pytest.mark.parametrize("suffix", [".pkl", ".pt"])
def test_a_malicious_pickle_is_refused_and_does_not_run(place: str, suffix: str, tmp_path: Path) -> None:
    bomb = Touch(tmp_path / "ran")
    with stand_ins():
        network = Persistent({"weight": torch.ones(2)}, "")
        network._buffers["bomb"] = bomb
        content = {"alone": bomb, "beside": {"G_ema": {"weight": torch.ones(2)}, "x": bomb}, "inside": network}[place]
        if suffix == ".pkl":
            (tmp_path / "bad.pkl").write_bytes(pickle.dumps(content))
        else:
            torch.save(content, tmp_path / "bad.pt")
    with pytest.raises(UserError, match="cannot be read as a checkpoint of tensors") as caught:
        main([str(tmp_path / f"bad{suffix}"), "--family", "dcgan", "--out", str(tmp_path / "out.safetensors")])
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists() and not (tmp_path / "out.safetensors").exists()


@pytest.mark.slow
def test_the_door_answers_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "bad.pkl").write_bytes(pickle.dumps(Touch(tmp_path / "ran")))
    done = cli("convert", tmp_path / "bad.pkl", "--family", "dcgan", "--out", tmp_path / "out.safetensors")
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert "asks for posix.mkdir" in done.stderr and not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["torch.load", "builtins.getattr", "torch.nn.functional.relu", "os.system",
                                  "torch._utils._rebuild_wrapper_subclass", "torch.storage.TypedStorage"])
def test_no_other_name_is_admitted(name: str, tmp_path: Path) -> None:
    module, _, leaf = name.rpartition(".")
    (tmp_path / "bad.pkl").write_bytes(f"c{module}\n{leaf}\n.".encode())
    with pytest.raises(UserError, match=f"asks for {name}"):
        main([str(tmp_path / "bad.pkl"), "--family", "dcgan", "--out", str(tmp_path / "out.safetensors")])


# --- what cannot be converted ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("family, state, extra, says", [
    ("dcgan", {"w": torch.ones(2)}, [], "not a state dict of pytorch/examples' DCGAN generator"),
    ("biggan", dcgan_state(), [], "not a state dict of ajbrock/BigGAN-PyTorch"),
    ("biggan", deep_discriminator_state((16, 16, 16, 16), 3), [], "convert the generator, such as G_ema.pth"),
    ("stylegan2", dcgan_state(), [], "not a StyleGAN2 generator's"),
    ("r3gan", {**STATES["r3gan"][0], "AggregationLayer.Layer.weight": torch.ones(3, 5, 1, 1)}, [], "should be"),
    ("dcgan", {"epoch": 3}, [], "no known generator key (its keys: epoch)"),
    ("dcgan", {0: torch.ones(2)}, [], "found tensors with numbers instead of names"),
    ("dcgan", {"G": dcgan_state()}, ["--key", "D"], "no key 'D' (its keys: G)"),
    ("dcgan", dcgan_state(), ["--key", "netG"], "no tensor name starts with 'netG.'"),
    ("dcgan", dcgan_state(), ["--resolution", "32"], "makes images of 64 px"),
    ("dcgan", dcgan_state(), ["bn_eps=1"], "unknown setting; dcgan has discriminator"),
    ("stylegan2", STATES["stylegan2"][0], ["conv_clamp=much"], "is not a number, true, false or null"),
    ("stylegan2", STATES["stylegan2"][0], ["conv_clamp=-1"], "greater than 0"),
], ids=lambda value: value if isinstance(value, str) else "")
def test_what_cannot_be_converted_is_said_in_a_line(family, state, extra, says: str, tmp_path: Path) -> None:
    torch.save(state, tmp_path / "weights.pt")
    with pytest.raises(UserError) as caught:
        main([str(tmp_path / "weights.pt"), "--family", family, "--out", str(tmp_path / "o.safetensors"),
                      *extra])
    assert says in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "o.safetensors").exists()


@pytest.mark.parametrize("name, content", [("none.pt", None), ("x.pt", b"nonsense"), ("x.pkl", b"nonsense"),
                                           ("x.safetensors", b"nonsense"), ("x.pkl", b"")])
def test_what_is_no_checkpoint_is_said_in_a_line(name: str, content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=r"cannot be read as a checkpoint|does not exist") as caught:
        main([str(tmp_path / name), "--family", "dcgan", "--out", str(tmp_path / "o.safetensors")])
    assert "\n" not in str(caught.value)
