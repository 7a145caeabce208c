"""StyleGAN2 in the layout of rosinality/stylegan2-pytorch: the same outputs, and files as its train.py saves them."""

import argparse
from pathlib import Path

import pytest
import torch
from models.test_stylegan2 import keyed
from torch import Tensor

import scalegan
from scalegan.commands.convert import main
from scalegan.interop import stylegan2_discriminator, stylegan2_generator

WIDTHS = {4: 12, 8: 12, 16: 10, 32: 5}
STYLE, LAYERS = 16, 3


def filled(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """A state dict whose values depend on names and shapes alone; filters are those of its Blur and Upsample."""
    taps, state = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=torch.float64), {}
    for name, shape in shapes.items():
        scale = 100.0 if name.startswith("style") else 1.0          # 1 / the mapping's learning rate multiplier
        if name.endswith("kernel"):
            halves = "conv2" in name or "skip" in name
            state[name] = torch.outer(taps, taps) / 64 * (1 if halves else 4)
        elif name.endswith(("bias", "noise.weight")):
            state[name] = (1.0 if "modulation" in name else 0.0) + 0.3 * scale * keyed(name, *shape)
        else:
            state[name] = scale * keyed(name, *shape)
    return state


def modulated(name: str, inputs: int, outputs: int, side: int, layer: str = "conv") -> dict[str, tuple[int, ...]]:
    return {f"{name}.{layer}.weight": (1, outputs, inputs, side, side),
            f"{name}.{layer}.modulation.weight": (inputs, STYLE), f"{name}.{layer}.modulation.bias": (inputs,)}


def generator_state(widths: dict[int, int] = WIDTHS) -> dict[str, Tensor]:
    shapes: dict[str, tuple[int, ...]] = {"input.input": (1, widths[4], 4, 4)}
    for i in range(1, LAYERS + 1):
        shapes |= {f"style.{i}.weight": (STYLE, STYLE), f"style.{i}.bias": (STYLE,)}
    number, planes = 0, 0
    for res, out in widths.items():
        names = ["conv1"] if res == 4 else [f"convs.{number}", f"convs.{number + 1}"]
        for name in names:
            upsamples = res > 4 and name == names[0]
            shapes |= modulated(name, widths[res // 2] if upsamples else out, out, 3)
            shapes |= {f"{name}.noise.weight": (1,), f"{name}.activate.bias": (out,),
                       f"noises.noise_{planes}": (1, 1, res, res)}
            shapes |= {f"{name}.conv.blur.kernel": (4, 4)} if upsamples else {}
            planes += 1
        colours = "to_rgb1" if res == 4 else f"to_rgbs.{number // 2}"
        shapes |= modulated(colours, out, 3, 1) | {f"{colours}.bias": (1, 3, 1, 1)}
        if res > 4:
            shapes[f"{colours}.upsample.kernel"] = (4, 4)
            number += 2
    return filled(shapes)


def discriminator_state(widths: dict[int, int] = WIDTHS) -> dict[str, Tensor]:
    top, highest = widths[4], max(widths)
    shapes = {"convs.0.0.weight": (widths[highest], 3, 1, 1), "convs.0.1.bias": (widths[highest],)}
    for number, res in enumerate(sorted(widths, reverse=True)[:-1], 1):
        block, inputs, out = f"convs.{number}", widths[res], widths[res // 2]
        shapes |= {f"{block}.conv1.0.weight": (inputs, inputs, 3, 3), f"{block}.conv1.1.bias": (inputs,),
                   f"{block}.conv2.0.kernel": (4, 4), f"{block}.conv2.1.weight": (out, inputs, 3, 3),
                   f"{block}.conv2.2.bias": (out,), f"{block}.skip.0.kernel": (4, 4),
                   f"{block}.skip.1.weight": (out, inputs, 1, 1)}
    shapes |= {"final_conv.0.weight": (top, top + 1, 3, 3), "final_conv.1.bias": (top,),
               "final_linear.0.weight": (top, 16 * top), "final_linear.0.bias": (top,),
               "final_linear.1.weight": (1, top), "final_linear.1.bias": (1,)}
    return filled(shapes)


# Outputs of model.py at commit bef283a for these weights, in float64 on a CPU, its table of channels replaced by WIDTHS
# and its operators by their own native versions: with its constant noise, for latents keyed("z", 6, 16), three colours
# of a pixel of the first and of the last image, and all mean squares; logits of keyed("x", 8, 3, 32, 32), in groups of
# 4, and of its first sample alone; the first elements of the mean style of 400,000 latents.
PIXELS = [0.43381154, -1.98776821, 0.57567494, 0.76220312, -2.46928829, -0.32791047]
SQUARES = [3.28432843, 17.26163005, 2.21350381, 6.02565324, 6.00470086, 3.55796933]
LOGITS = [-0.10221593, -0.06038933, -0.18970979, -0.13665739, -0.13176093, -0.16878052, -0.17641342, -0.20850364]
ALONE = [-0.11201701]
AVERAGE = [0.002792, 0.357881, 0.697993, 2.041845]


def close(found: Tensor, expected: list[float], within: float) -> bool:
    return torch.allclose(found.double(), torch.tensor(expected, dtype=torch.float64), rtol=0, atol=within)


@pytest.mark.slow
@torch.no_grad()
def test_networks_give_what_the_published_code_gives() -> None:
    generator, discriminator = stylegan2_generator(generator_state()), stylegan2_discriminator(discriminator_state())
    images = generator(keyed("z", 6, STYLE), noise="const")
    assert close(torch.cat([images[0, :, 5, 17], images[5, :, 30, 2]]), PIXELS, 1e-6)
    assert close(images.square().mean([1, 2, 3]), SQUARES, 1e-6)
    x = keyed("x", 8, 3, 32, 32)
    assert close(discriminator(x), LOGITS, 1e-7) and close(discriminator(x[:1]), ALONE, 1e-7)
    assert close(generator.mapping.w_avg[:4], AVERAGE, 0.1)     # a mean of 4,096


def trained(folder: Path) -> Path:
    """As its train.py saves."""
    average = {name: value.float() for name, value in generator_state().items()}
    live = {name: value if name.endswith("kernel") else value * 1.1 for name, value in average.items()}
    d = {f"module.{name}": value.float() for name, value in discriminator_state().items()}
    torch.save({"g": live, "d": d, "g_ema": average, "g_optim": {"state": {}, "param_groups": []},
                "args": argparse.Namespace(size=32), "ada_aug_p": 0.0}, folder / "000000.pt")
    return folder / "000000.pt"


def test_a_file_of_its_trainer_becomes_an_export(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "out.safetensors"
    assert main([str(trained(tmp_path)), "--family", "stylegan2", "--out", str(out)]) == 0
    assert "note" not in capsys.readouterr().err
    loaded = scalegan.load(out)
    with torch.no_grad():
        images = loaded(keyed("z", 6, STYLE).float(), noise="const")
    assert close(images.square().mean([1, 2, 3]), SQUARES, 1e-3)
    assert loaded.about["model"]["conv_clamp"] is None


def test_the_average_style_beside_a_network_is_taken(tmp_path: Path) -> None:
    """As convert_weight.py saves what it made from TensorFlow's."""
    average = torch.arange(STYLE, dtype=torch.float32)
    torch.save({"g_ema": {name: value.float() for name, value in generator_state().items()}, "latent_avg": average},
               tmp_path / "ffhq.pt")
    assert main([str(tmp_path / "ffhq.pt"), "--family", "stylegan2", "--out", str(tmp_path / "o.safetensors")]) == 0
    assert torch.equal(scalegan.load(tmp_path / "o.safetensors").mapping.w_avg, average)


def test_networks_with_another_filter_are_refused() -> None:
    state = discriminator_state()
    state["convs.1.conv2.0.kernel"] = torch.ones(4, 4) / 16
    with pytest.raises(ValueError, match="is not the filter"):
        stylegan2_discriminator(state)
