"""The autoencoder of latent diffusion: names, sizes and outputs are those of diffusers' `AutoencoderKL`, and its files
are read in whatever age and folder they come."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from scalegan.data import autoencoder_file
from scalegan.errors import UserError
from scalegan.models.autoencoder_kl import Decoder, Encoder, Sizes, canonical, posterior, sizes_of
from scalegan.support.digests import digest_of

SMALL = Sizes(channels=3, widths=(8, 16), layers=1, latent_channels=3, groups=4)
# Of diffusers 0.35.2 with these sizes, the weights of `fill` and the image of `picture`: every 12th value of mean and
# deviation, every 41st of the mean decoded.
MEAN = [-0.5192722, 2.7814012, 2.4801004, -1.6096128, -2.0457740, -1.3363951]
DEVIATION = [0.5904994, 3.2229245, 3.1991692, 0.4249356, 0.4066864, 0.5393444]
DECODED = [-0.3963447, 0.3993425, 2.5874424, -2.4074674, -3.7999938, 0.3240974, 3.2895930, -1.6113911]


def fill(module: nn.Module) -> None:
    """Waves as weights, each with a phase by the place of its name among the sorted."""
    for place, (name, tensor) in enumerate(sorted(module.state_dict().items())):
        wave = 0.3 * torch.sin(torch.arange(tensor.numel(), dtype=torch.float64) * 0.7 + place).float()
        tensor.copy_(wave.view(tensor.shape) + (1.0 if "norm" in name and name.endswith("weight") else 0.0))


def picture() -> Tensor:
    return torch.cos(torch.arange(3 * 8 * 12, dtype=torch.float64) * 0.37).float().view(1, 3, 8, 12)


def whole(sizes: Sizes) -> nn.Module:
    """Both halves, whose states together have the names of the layout."""
    both = nn.Module()
    both.halves = [Encoder(sizes), Decoder(sizes)]      # a plain list: no names of its own
    for half in both.halves:
        for name, child in half.named_children():
            both.add_module(name, child)
    return both


def test_stable_diffusions_parameters_are_counted() -> None:
    with torch.device("meta"):
        counts = [sum(p.numel() for p in half(Sizes()).parameters()) for half in (Encoder, Decoder)]
    assert counts == [34_163_664, 83_653_863 - 34_163_664] and Sizes().factor == 8


def test_outputs_are_those_that_diffusers_gave() -> None:
    both = whole(SMALL)
    fill(both)
    encoder, decoder = both.halves
    with torch.no_grad():
        mean, deviation = posterior(encoder(picture()))
        decoded = decoder(mean)
    for found, step, known in ((mean, 12, MEAN), (deviation, 12, DEVIATION), (decoded, 41, DECODED)):
        torch.testing.assert_close(found.flatten()[::step], torch.tensor(known), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [
    SMALL, Sizes(3, (32, 64), 2, 4, 32), Sizes(1, (8, 8, 16), 1, 16, 8, attention=False, quant=False)])
def test_names_and_outputs_are_those_of_diffusers(sizes: Sizes) -> None:
    diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed; test_outputs_are_those_that_"
                                    "diffusers_gave compares with numbers from it")
    config = autoencoder_file.config_of(sizes, 0.5, 0.0)
    config.pop("_class_name")
    theirs = diffusers.AutoencoderKL(**config).double().eval()
    fill(theirs)
    encoder, decoder = Encoder(sizes).double(), Decoder(sizes).double()
    assert {name: tensor.shape for half in (encoder, decoder) for name, tensor in half.state_dict().items()} == \
        {name: tensor.shape for name, tensor in theirs.state_dict().items()}
    for half in (encoder, decoder):
        autoencoder_file.filled(half, theirs.state_dict())
    images = torch.randn(2, sizes.channels, 16, 24, generator=torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        known, (mean, deviation) = theirs.encode(images).latent_dist, posterior(encoder(images))
        torch.testing.assert_close(mean, known.mean, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(deviation, known.std, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(decoder(mean), theirs.decode(mean).sample, rtol=1e-5, atol=1e-5)


def older(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """As files from before 2023 name attention's matrices, and some have them as convolutions."""
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    found = {}
    for name, tensor in weights.items():
        for new, old in names.items():
            if f".attentions.0.{new}." in name:
                name = name.replace(new, old)
                tensor = tensor[:, :, None, None] if name.endswith("weight") else tensor
        found[name] = tensor
    return found


def test_older_names_are_the_same_weights() -> None:
    now = dict(whole(SMALL).state_dict())
    found = canonical(older(now))
    assert older(now).keys() != now.keys() and found.keys() == now.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in now.items())


@pytest.mark.parametrize("sizes", [SMALL, Sizes(1, (8,), 2, 4, 4), Sizes(4, (8, 8, 16), 1, 16, 8, False, False)])
def test_shapes_tell_the_sizes(sizes: Sizes) -> None:
    assert sizes_of(whole(sizes).state_dict(), sizes.groups) == sizes
    assert sizes_of(Decoder(sizes).state_dict(), sizes.groups) == sizes


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    halves = whole(SMALL).halves
    (tmp_path / "hub").mkdir()
    for path in (tmp_path / "vae.safetensors", tmp_path / "hub" / autoencoder_file.HUB_FILE):
        autoencoder_file.save(path, SMALL, halves, 0.5, 0.25)
    for path in (tmp_path / "vae.safetensors", tmp_path / "hub"):
        found = autoencoder_file.read(path)
        assert (found.sizes, found.scale, found.shift) == (SMALL, 0.5, 0.25)
        assert [digest_of(found.encoder), digest_of(found.decoder)] == [digest_of(half) for half in halves]


def test_a_config_beside_a_published_file_gives_scale_and_groups(tmp_path: Path) -> None:
    save_file(older(dict(whole(SMALL).state_dict())), tmp_path / "vae.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"scaling_factor": 0.18215, "norm_num_groups": 4, "other": 1}))
    found = autoencoder_file.read(tmp_path / "vae.safetensors")
    assert (found.scale, found.sizes) == (0.18215, SMALL)


def _without(name: str):
    return lambda weights: weights.pop(name)


def _infinite(weights: dict[str, Tensor]) -> None:
    weights["decoder.conv_in.bias"][0] = torch.inf


def _reshaped(weights: dict[str, Tensor]) -> None:
    weights["encoder.conv_in.weight"] = torch.zeros(7, 3, 3, 3)


@pytest.mark.parametrize("damage, message", [
    (_without("decoder.conv_in.weight"), "decoder.conv_in"), (_without("encoder.conv_out.bias"), "encoder.conv_out"),
    (_infinite, "not finite"), (_reshaped, "size mismatch")])
def test_other_weights_are_refused_in_one_line(damage, message: str, tmp_path: Path) -> None:
    path = tmp_path / "vae.safetensors"
    autoencoder_file.save(path, SMALL, whole(SMALL).halves, 0.5)
    weights = load_file(path)
    damage(weights)
    save_file(weights, path, metadata={"config": json.dumps(autoencoder_file.config_of(SMALL, 0.5, 0.0))})
    with pytest.raises(UserError, match=message) as caught:
        autoencoder_file.read(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("content, metadata", [(b"", None), (b"PK not safetensors", None), (None, {"scalegan": "{}"}),
                                               (None, {"config": "{"}), (None, {"config": '{"scaling_factor": 0}'})])
def test_other_files_are_refused_in_one_line(content: bytes | None, metadata: dict | None, tmp_path: Path) -> None:
    path = tmp_path / "vae.safetensors"
    if content is None:
        save_file(dict(whole(SMALL).state_dict()), path, metadata=metadata)
    else:
        path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        autoencoder_file.read(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(UserError, match="nowhere"):
        autoencoder_file.read(tmp_path / "nowhere")
