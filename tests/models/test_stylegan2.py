"""StyleGAN2: parameter counts, parity by golden numbers, derivatives, and what training relies on."""

import zlib

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from scalegan.interop.stylegan2 import stylegan2_discriminator, stylegan2_generator
from scalegan.models.layers.mbstd import minibatch_stddev
from scalegan.models.layers.modulated import SynthesisLayer, demodulation, modulated_conv2d, modulated_upconv2d
from scalegan.models.layers.resample import blur, downsample, upsample
from scalegan.models.layers.tracked import tracked_modules
from scalegan.models.stylegan2 import Discriminator, Generator

SMALL = {"channel_base": 256, "channel_max": 24}


def keyed(name: str, *shape: int) -> torch.Tensor:
    """Normal draws in fp64 that depend only on the name and the shape."""
    draws = np.random.Generator(np.random.Philox(key=zlib.crc32(name.encode()))).standard_normal(shape)
    return torch.from_numpy(np.asarray(draws))


def by_name(name: str) -> torch.Generator:
    return torch.Generator().manual_seed(zlib.crc32(name.encode()))


def small_generator(**kwargs) -> Generator:
    """Weights keyed by name; noise strengths and biases are moved away from zero, so that they have an effect."""
    generator = Generator(**({"resolution": 32, "latent_dim": 16, "w_dim": 32, "mapping_layers": 2, **SMALL} | kwargs))
    return stirred(generator)


def small_discriminator(**kwargs) -> Discriminator:
    return stirred(Discriminator(**({"resolution": 32, "mapping_layers": 2, **SMALL} | kwargs)))


def stirred(model):
    model.initialise(by_name)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("bias", "noise_strength")):
                parameter += 0.3 * keyed(name, *parameter.shape)
        for name, buffer in model.named_buffers():
            if name.endswith("w_avg"):
                buffer.copy_(0.2 * keyed(name, *buffer.shape))
    return model


# --- The tables -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("config", "of_generator", "of_discriminator"), [
    ({"resolution": 64, "channel_base": 16384}, 23_819_544, 23_407_361),
    ({"resolution": 128, "channel_base": 16384}, 24_525_213, 23_882_369),
    ({"resolution": 256, "channel_base": 16384}, 24_767_458, 24_001_089),     # paper256
    ({"resolution": 256}, 30_034_338, 28_864_129),                            # config F
    ({"resolution": 512}, 30_276_583, 28_982_849),
    ({"resolution": 1024}, 30_370_060, 29_012_513),
], ids=lambda value: str(value) if isinstance(value, dict) else "")
def test_parameters_number_as_in_the_reference(config, of_generator, of_discriminator):
    with torch.device("meta"):
        assert sum(p.numel() for p in Generator(**config).parameters()) == of_generator
        assert sum(p.numel() for p in Discriminator(**config).parameters()) == of_discriminator


def test_parameters_of_the_cifar_configuration_and_of_paper256s_halves():
    with torch.device("meta"):
        assert sum(p.numel() for p in Generator(32, mapping_layers=2).parameters()) == 19_947_539
        assert sum(p.numel() for p in Discriminator(32, architecture="orig").parameters()) == 20_720_641
        paper256 = Generator(256, channel_base=16384)
    assert sum(p.numel() for p in paper256.mapping.parameters()) == 2_101_248
    assert sum(p.numel() for p in paper256.synthesis.parameters()) == 22_666_210


@pytest.mark.parametrize(("resolution", "num_ws"), [(32, 8), (64, 10), (128, 12), (256, 14), (512, 16), (1024, 18)])
def test_number_of_styles(resolution, num_ws):
    with torch.device("meta"):
        assert Generator(resolution).num_ws == num_ws


# --- Parity with the reference ----------------------------------------------------------------------------------
# Names and shapes of the reference's state dicts, filled by name, and the reference's outputs for them:
# training/networks_stylegan2.py of NVlabs/stylegan3 on a CPU, its float32 replaced by float64.

CASES = {
    "uncond-orig": {"resolution": 32, "widths": {4: 24, 8: 24, 16: 16, 32: 8}, "classes": 0, "z": 16, "w": 32,
                    "layers": 2, "architecture": "orig", "clamp": 256, "group": 4},
    "cond-resnet-clamped": {"resolution": 64, "widths": {4: 20, 8: 20, 16: 20, 32: 20, 64: 15}, "classes": 5, "z": 24,
                            "w": 28, "layers": 3, "architecture": "resnet", "clamp": 1.0, "group": 2},
}


def fill(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    if name.endswith("resample_filter"):
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=torch.float64)
        return torch.outer(taps, taps) / 64
    scale = 100.0 if "mapping.fc" in name else 1.0                    # 1 / the mapping's learning rate multiplier
    if name.endswith(("bias", "noise_strength", "w_avg")):
        return (1.0 if "affine" in name else 0.0) + 0.3 * scale * keyed(name, *shape)
    return scale * keyed(name, *shape)


def dense(name: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def generator_shapes(resolution, widths, classes, z, w, layers, **_) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"mapping.w_avg": (w,), "synthesis.b4.const": (widths[4], 4, 4)}
    if classes:
        shapes |= dense("mapping.embed", classes, w)
    for i in range(layers):
        shapes |= dense(f"mapping.fc{i}", (z + (w if classes else 0)) if i == 0 else w, w)
    for res, out in widths.items():
        block = f"synthesis.b{res}"
        shapes[f"{block}.resample_filter"] = (4, 4)
        for conv, inputs in ([("conv0", widths[res // 2])] if res > 4 else []) + [("conv1", out)]:
            shapes |= dense(f"{block}.{conv}.affine", w, inputs) | {
                f"{block}.{conv}.weight": (out, inputs, 3, 3), f"{block}.{conv}.bias": (out,),
                f"{block}.{conv}.noise_strength": (), f"{block}.{conv}.noise_const": (res, res),
                f"{block}.{conv}.resample_filter": (4, 4)}
        shapes |= dense(f"{block}.torgb.affine", w, out)
        shapes |= {f"{block}.torgb.weight": (3, out, 1, 1), f"{block}.torgb.bias": (3,)}
    return shapes


def discriminator_shapes(resolution, widths, classes, architecture, **_) -> dict[str, tuple[int, ...]]:
    top = widths[4]
    shapes = {f"b{resolution}.fromrgb.weight": (widths[resolution], 3, 1, 1),
              f"b{resolution}.fromrgb.bias": (widths[resolution],)}
    for res, inputs in widths.items():
        if res == 4:
            continue
        out = widths[res // 2]
        shapes |= {f"b{res}.conv0.weight": (inputs, inputs, 3, 3), f"b{res}.conv0.bias": (inputs,),
                   f"b{res}.conv1.weight": (out, inputs, 3, 3), f"b{res}.conv1.bias": (out,),
                   f"b{res}.conv1.resample_filter": (4, 4)}
        if architecture == "resnet":
            shapes[f"b{res}.skip.weight"] = (out, inputs, 1, 1)
    shapes |= {"b4.conv.weight": (top, top + 1, 3, 3), "b4.conv.bias": (top,)}
    shapes |= dense("b4.fc", top * 16, top) | dense("b4.out", top, top if classes else 1)
    if classes:
        shapes |= dense("mapping.embed", classes, top)
        for i in range(8):
            shapes |= dense(f"mapping.fc{i}", top, top)
    return shapes


def state_of(shapes: dict[str, tuple[int, ...]], dtype=torch.float64) -> dict[str, torch.Tensor]:
    return {name: fill(name, shape).to(dtype) for name, shape in shapes.items()}


def inputs_of(case: dict) -> dict[str, torch.Tensor | None]:
    res = case["resolution"]
    return {"z": keyed("z", 4, case["z"]), "images": keyed("images", 4, 3, res, res),
            "direction": keyed("direction", 4, 3, res, res),
            "labels": torch.tensor([0, 3, 1, 4]) if case["classes"] else None}


def figures(case: dict, generator, mapping, synthesis, discriminator, parameters_g, parameters_d) -> dict[str, list]:
    """Some pixels, logits and gradients of any implementation, as in the golden numbers below."""
    given = inputs_of(case)
    z, images = given["z"].requires_grad_(), given["images"].requires_grad_()
    out = {}
    for psi in (1.0, 0.5):
        made = generator(z, given["labels"], psi)
        out[f"G psi {psi}"] = [made[0, 0, 0, 0], made[1, 1, 7, 11], made[2, 2, 20, 5], made[3, 0, -1, -2], made.std()]
    out["G gradient"] = [g.norm() for g in torch.autograd.grad((made * given["direction"]).sum(), [z, *parameters_g])]
    ws = mapping(z, given["labels"])
    along, = torch.autograd.grad((synthesis(ws) * given["direction"]).sum() / case["resolution"], ws, create_graph=True)
    lengths = along.square().sum(2).mean(1).sqrt()
    gradients = torch.autograd.grad((lengths - 1).square().mean(), parameters_g, allow_unused=True)
    out["path length"] = [*lengths, *(g.norm() for g in gradients if g is not None and g.any())]
    logits = discriminator(images, given["labels"])
    out["D"] = [*logits]
    slope, = torch.autograd.grad(logits.sum(), images, create_graph=True)
    r1 = slope.square().sum([1, 2, 3]).mean()
    out["D gradient"] = [slope.norm(), *(g.norm() for g in torch.autograd.grad(
        F.softplus(logits).sum(), parameters_d, retain_graph=True))]
    gradients = torch.autograd.grad(r1, parameters_d, allow_unused=True)
    out["R1"] = [r1, *(g.norm() for g in gradients if g is not None and g.any())]
    return {name: [v.item() for v in (values if len(values) < 8 else [*values[:5], sum(values)])]
            for name, values in out.items()}


GOLDEN = {
    "uncond-orig": {
        "G psi 1.0": [0.1407387023, -0.03040102095, -0.4657708793, -0.1748143961, 1.614317712],
        "G psi 0.5": [0.01281147282, 0.1463401379, -1.020495993, -0.1870088898, 1.389735741],
        "G gradient": [110.936973, 83.69225234, 78.01904607, 134.7735804, 5.993906525, 4223.875816],
        "path length": [1.962209393, 1.131881964, 0.878425657, 1.136182574, 0.1039330764, 10.17714214],
        "D": [0.9556297245, 0.9641721518, 0.9989186065, 0.9268743761],
        "D gradient": [0.06790580547, 0.2979052991, 1.077448529, 0.5281503738, 1.008597197, 28.30214225],
        "R1": [0.001152799604, 0.0007538985989, 9.784391497e-07, 0.0004859218297, 1.175612169e-06, 0.007039863942],
    },
    "cond-resnet-clamped": {
        "G psi 1.0": [0.3037803963, 2.634230744, -1.606132658, 0.2076575057, 1.454103336],
        "G psi 0.5": [-0.06963212835, 1.400080124, -1.337044318, 0.4592268042, 1.145059246],
        "G gradient": [140.6115241, 98.66928078, 102.5831063, 153.4413476, 83.00591941, 5655.869547],
        "path length": [0.650020035, 0.5146382389, 0.4490561449, 0.4845656163, 0.01884808263, 3.169843691],
        "D": [0.6343555569, 0.7277538364, 0.5507154401, 0.534320555],
        "D gradient": [0.02447293629, 0.1470726651, 0.8654591807, 0.2051624982, 0.7958605386, 27.26912681],
        "R1": [0.0001497311526, 8.015722366e-05, 3.220367251e-06, 3.285688989e-05, 2.916034339e-06, 0.001144978854],
    },
}


def ours(case: dict, dtype=torch.float64):
    generator = stylegan2_generator(state_of(generator_shapes(**case), dtype), conv_clamp=case["clamp"])
    discriminator = stylegan2_discriminator(state_of(discriminator_shapes(**case), dtype), mbstd_group=case["group"],
                                            conv_clamp=case["clamp"])
    return generator, discriminator


@pytest.mark.parametrize("name", CASES)
def test_outputs_and_derivatives_are_the_references(name):
    generator, discriminator = ours(CASES[name])
    got = figures(CASES[name], lambda z, y, psi: generator(z, y, psi=psi, noise="const"), generator.mapping,
                  lambda ws: generator.synthesis(ws, noise="const"), discriminator,
                  list(generator.parameters()), list(discriminator.parameters()))
    for what, expected in GOLDEN[name].items():
        np.testing.assert_allclose(got[what], expected, rtol=1e-8, err_msg=what)


@pytest.mark.parametrize("name", CASES)
def test_outputs_in_fp32_are_the_references(name):
    case = CASES[name]
    generator, discriminator = ours(case, torch.float32)
    given = {k: v.float() if v is not None and v.is_floating_point() else v for k, v in inputs_of(case).items()}
    with torch.no_grad():
        made = generator(given["z"], given["labels"], psi=0.5, noise="const")
        logits = discriminator(given["images"], given["labels"])
    assert made.dtype == logits.dtype == torch.float32
    got = [made[0, 0, 0, 0], made[1, 1, 7, 11], made[2, 2, 20, 5], made[3, 0, -1, -2], made.std()]
    assert torch.tensor(got).tolist() == pytest.approx(GOLDEN[name]["G psi 0.5"], rel=1e-5, abs=1e-5)
    assert logits.tolist() == pytest.approx(GOLDEN[name]["D"], rel=1e-5, abs=1e-5)


def test_interop_copies_its_tensors_and_draws_nothing():
    state = state_of(generator_shapes(**CASES["uncond-orig"]))
    before = torch.get_rng_state()
    generator = stylegan2_generator(state)
    assert torch.equal(torch.get_rng_state(), before)
    assert not generator.training
    with torch.no_grad():
        generator.synthesis.const.zero_()
    assert state["synthesis.b4.const"].any()


@pytest.mark.parametrize(("change", "message"), [
    (lambda s: s.pop("synthesis.b8.conv0.weight"), r"lacks synthesis.blocks.8.conv0.weight"),
    (lambda s: s.update({"synthesis.b8.conv0.bias": torch.zeros(7)}), r"synthesis.blocks.8.conv0.bias as \[7\]"),
    (lambda s: s.update({"synthesis.b8.resample_filter": torch.ones(4, 4) / 16}), "not the filter"),
    (lambda s: s.update({"something": torch.zeros(1)}), "has something"),
    (lambda s: s.clear(), "not a StyleGAN2 generator's"),
], ids=["missing", "shape", "filter", "extra", "empty"])
def test_interop_refuses_other_weights_in_a_sentence(change, message):
    state = state_of(generator_shapes(**CASES["uncond-orig"]))
    change(state)
    with pytest.raises(ValueError, match=message):
        stylegan2_generator(state)


def test_interop_refuses_a_discriminator_with_input_skips():
    state = state_of(discriminator_shapes(**CASES["uncond-orig"]))
    state["b16.fromrgb.weight"] = torch.zeros(16, 3, 1, 1)
    with pytest.raises(ValueError, match="input skips"):
        stylegan2_discriminator(state)


# --- Layers against their definitions ---------------------------------------------------------------------------


def test_modulated_convolution_is_equations_1_and_3():
    x, weight, styles = keyed("x", 3, 5, 6, 6), keyed("weight", 4, 5, 3, 3), keyed("styles", 3, 5)
    got = modulated_conv2d(x, weight, styles) * demodulation(weight, styles)[:, :, None, None]
    for i in range(3):
        own = weight * styles[i][None, :, None, None]
        own = own / (own.square().sum([1, 2, 3], keepdim=True) + 1e-8).sqrt()
        torch.testing.assert_close(got[i], F.conv2d(x[i:i + 1], own, padding=1)[0])


def test_doubling_convolution_is_zeros_between_pixels_then_filter_and_convolution():
    x, weight, styles = keyed("x", 2, 3, 5, 5), keyed("weight", 4, 3, 3, 3), keyed("styles", 2, 3)
    spread = torch.zeros(2, 3, 10, 10, dtype=x.dtype)
    spread[:, :, ::2, ::2] = x * styles[:, :, None, None]
    padded = F.pad(spread, (3, 2, 3, 2))                # the filter's reach and the convolution's
    expected = F.conv2d(blur(padded, padding=0, gain=4), weight.flip([2, 3]))
    torch.testing.assert_close(modulated_upconv2d(x, weight, styles), expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_halving_and_doubling_are_adjoint_and_keep_constants(dtype):
    x, y = keyed("x", 2, 3, 8, 8).to(dtype).requires_grad_(), keyed("y", 2, 3, 4, 4).to(dtype).requires_grad_()
    tolerance = {"rtol": 2e-2, "atol": 2e-2} if dtype == torch.bfloat16 else {"rtol": 1e-5, "atol": 1e-6}
    there, = torch.autograd.grad(downsample(x), x, y.detach())
    torch.testing.assert_close(there, upsample(y).detach() / 4, **tolerance)
    back, = torch.autograd.grad(upsample(y), y, x.detach())
    torch.testing.assert_close(back, downsample(x).detach() * 4, **tolerance)
    ones = torch.ones(1, 1, 8, 8, dtype=dtype)
    torch.testing.assert_close(downsample(ones)[..., 1:-1, 1:-1], ones[..., :2, :2])
    torch.testing.assert_close(upsample(ones)[..., 1:-1, 1:-1], torch.ones(1, 1, 14, 14, dtype=dtype))


def test_stddev_groups_are_strided():
    x = keyed("x", 6, 4, 2, 2)
    got = minibatch_stddev(x, group=3, channels=2)
    for group in range(2):
        members = x[group::2].reshape(3, 2, 2, 2, 2)    # [G, channels, C / channels, H, W]
        deviation = (members.var(0, unbiased=False) + 1e-8).sqrt().mean([1, 2, 3])
        torch.testing.assert_close(got[group::2, 4:], deviation[None, :, None, None].expand(3, 2, 2, 2))
    assert torch.equal(got[:, :4], x)
    with pytest.raises(ValueError, match="cannot be cut"):
        minibatch_stddev(x, group=4)


def layer_of(convolve) -> SynthesisLayer:
    layer = SynthesisLayer("layer", convolve, 3, 2, w_dim=4, resolution=4, clamp=2.0)
    layer.initialise(by_name)
    layer.affine.initialise(by_name)
    torch.nn.init.constant_(layer.noise_strength, 0.5)
    return layer.double()


TWICE = {
    "modulated convolution": (modulated_conv2d, (2, 3, 4, 4), (2, 3, 3, 3), (2, 3)),
    "doubling modulated convolution": (modulated_upconv2d, (2, 3, 2, 2), (2, 3, 3, 3), (2, 3)),
    "demodulation": (demodulation, (2, 3, 3, 3), (2, 3)),
    "layer": (lambda x, w: layer_of(modulated_conv2d)(x, w, "const"), (2, 3, 4, 4), (2, 4)),
    "doubling layer": (lambda x, w: layer_of(modulated_upconv2d)(x, w, "const"), (2, 3, 2, 2), (2, 4)),
    "downsample": (downsample, (1, 2, 4, 4)),
    "upsample": (upsample, (1, 2, 2, 2)),
    "stddev": (lambda x: minibatch_stddev(x, 2), (4, 2, 2, 2)),
}


@pytest.mark.parametrize("name", TWICE)
def test_derivatives_of_both_orders_in_64_bits(name):
    function, *shapes = TWICE[name]
    inputs = [keyed(f"input {i}", *shape).requires_grad_() for i, shape in enumerate(shapes)]
    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


# --- What training relies on ------------------------------------------------------------------------------------


def test_a_forward_changes_no_buffer_and_observes_the_mean_style():
    generator = small_generator()
    before = {name: buffer.clone() for name, buffer in generator.named_buffers()}
    z = keyed("z", 8, 16).float()
    for part in z.split(2):
        generator(part)
    assert all(torch.equal(buffer, before[name]) for name, buffer in generator.named_buffers())
    mapping, = tracked_modules(generator)
    means = mapping.drain()
    generator.mapping(z)
    torch.testing.assert_close(means, mapping.drain())                 # micro-batches of 2, or all 8 at once
    torch.testing.assert_close(means["w_avg"], generator.eval().mapping(z)[:, 0].mean(0))
    assert not mapping.drain()                                         # in eval mode nothing is observed
    mapping.advance(**means)
    torch.testing.assert_close(mapping.w_avg, 0.998 * before["mapping.w_avg"] + 0.002 * means["w_avg"])


def test_truncation_moves_styles_to_the_average():
    generator = small_generator().eval()
    z = keyed("z", 3, 16).float()
    w, average = generator.mapping(z), generator.mapping.w_avg
    torch.testing.assert_close(generator.mapping(z, psi=0.7), average + 0.7 * (w - average))
    images = generator(z, psi=0.0, noise="const")
    torch.testing.assert_close(images[0], images[1])
    assert not torch.allclose(*generator(z, noise="const")[:2])


def test_noise_is_asked_for_by_layer_and_shape():
    generator, asked = small_generator(), []
    z = keyed("z", 2, 16).float()

    def draw(name, shape):
        asked.append((name, shape))
        return keyed(name, *shape)

    images = generator(z, noise=draw)
    assert asked == [("4.conv1", (2, 1, 4, 4))] + [
        (f"{res}.{conv}", (2, 1, res, res)) for res in (8, 16, 32) for conv in ("conv0", "conv1")]
    torch.testing.assert_close(generator(z, noise=draw), images)
    silent = generator(z, noise=lambda name, shape: torch.zeros(shape))
    torch.testing.assert_close(silent, generator(z, noise="none"))
    assert not torch.allclose(silent, images)
    assert not torch.allclose(generator(z), generator(z))
    with pytest.raises(ValueError, match="noise must be"):
        generator(z, noise="loud")


def test_an_image_does_not_depend_on_its_batch():
    generator = small_generator(num_classes=3).eval()
    z, labels = keyed("z", 4, 16).float(), torch.tensor([0, 1, 2, 1])
    whole = generator(z, labels, noise="const")
    torch.testing.assert_close(whole[1:3], generator(z[1:3], labels[1:3], noise="const"))


def test_styles_mix_by_layer():
    generator = small_generator().eval()
    a, b = generator.mapping(keyed("z", 4, 16).float()).split(2)
    mixed = a.clone()
    mixed[:, -1:] = b[:, -1:]                           # the last style colours the highest resolution only
    change = generator.synthesis(mixed, "const") - generator.synthesis(a, "const")
    assert change.any()
    own = generator.mapping(keyed("z", 2, 16).float())
    own[:, 3:] = b[:, 3:]                               # in place, as style mixing does
    assert torch.equal(own[:, 0], own[:, 2]) and not torch.equal(own[:, 2], own[:, 3])


@pytest.mark.parametrize("build", [small_generator, small_discriminator])
def test_initial_weights_are_keyed_by_name_and_complete(build):
    a, b = build(num_classes=4), build(num_classes=4)
    with torch.no_grad():
        for tensor in [*b.parameters(), *(x for n, x in b.named_buffers() if not n.endswith("w_avg"))]:
            tensor.fill_(float("nan"))
    before = torch.get_rng_state()
    a.initialise(by_name)
    b.initialise(by_name)
    assert torch.equal(torch.get_rng_state(), before)
    for (name, x), y in zip(a.state_dict().items(), b.state_dict().values()):
        assert torch.equal(x, y), name
    weights = {name: p.detach() for name, p in a.named_parameters()}
    slow = [name for name in weights if "layers.0.weight" in name]     # the mapping's, which learns slower
    assert float(weights[slow[0]].std()) == pytest.approx(100, rel=0.1)
    drawn = [p.flatten() for name, p in weights.items() if p.dim() >= 2 and ".layers." not in name]
    assert float(torch.cat(drawn).std()) == pytest.approx(1, abs=0.02)
    assert all(bool((p == ("affine" in name)).all()) for name, p in weights.items() if name.endswith("bias"))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_runs_where_it_is_asked_for(dtype):
    generator, discriminator = small_generator(num_half_res=2), small_discriminator(num_half_res=2)
    seen = {}
    for kind, blocks in (("G", generator.synthesis.blocks), ("D", discriminator.blocks)):
        for res, block in blocks.items():
            block.conv1.register_forward_hook(lambda m, args, out, key=(kind, int(res)): seen.update({key: out.dtype}))
    z = keyed("z", 4, 16).float()
    full = generator(z, noise="const")
    with torch.autocast("cpu", dtype):
        images = generator(z, noise="const")
        logits = discriminator(images)
    assert seen == {(kind, res): dtype if res >= 16 else torch.float32
                    for kind, lowest in (("G", 4), ("D", 8)) for res in (4, 8, 16, 32) if res >= lowest}
    assert images.dtype == logits.dtype == torch.float32
    assert (images - full).norm() < 0.02 * full.norm()


def test_fp16_stays_finite_where_its_range_would_not_do():
    generator = small_generator()
    with torch.no_grad():
        for name, parameter in generator.named_parameters():
            if "conv" in name and name.endswith("weight"):
                parameter *= 3e4                        # demodulation cancels it
    z = keyed("z", 2, 16).float()
    with torch.autocast("cpu", torch.float16):
        images = generator(z, noise="const")
    torch.testing.assert_close(images, generator(z, noise="const"), rtol=0.05, atol=0.05 * images.std().item())


def test_bf16_penalties_are_finite_and_reach_every_weight():
    generator, discriminator = small_generator(num_classes=3), small_discriminator(num_classes=3)
    z, labels = keyed("z", 4, 16).float(), torch.tensor([0, 1, 2, 1])
    with torch.autocast("cpu", torch.bfloat16):
        ws = generator.mapping(z, labels)
        images = generator.synthesis(ws)
        along, = torch.autograd.grad((images * keyed("v", *images.shape).float()).sum() / 32, ws, create_graph=True)
        reals = images.detach().requires_grad_()
        slope, = torch.autograd.grad(discriminator(reals, labels).sum(), reals, create_graph=True)
    along.square().sum(2).mean(1).sqrt().var().backward()
    slope.square().sum([1, 2, 3]).mean().backward()
    reached = {n: p.grad for model in (generator, discriminator) for n, p in model.named_parameters()
               if n.endswith("weight")}
    assert all(g is not None and bool(g.isfinite().all()) for g in reached.values())
    assert all(bool(g.any()) for g in reached.values())


def test_activations_stay_within_the_clamp():
    generator, discriminator = small_generator(conv_clamp=0.25), small_discriminator(conv_clamp=0.25)
    peaks = []
    for module in generator.modules():
        if isinstance(module, SynthesisLayer):
            module.register_forward_hook(lambda m, args, out: peaks.append(float(out.abs().max())))
    images = generator(keyed("z", 4, 16).float(), noise="const")
    assert len(peaks) == 7 and max(peaks) == pytest.approx(0.25)
    assert torch.isfinite(discriminator(100 * images)).all()


# --- Labels and other input -------------------------------------------------------------------------------------


def test_classes_are_one_hot_attributes():
    generator, discriminator = small_generator(num_classes=5).eval(), small_discriminator(num_classes=5)
    z, labels = keyed("z", 4, 16).float(), torch.tensor([4, 0, 2, 2])
    images = generator(z, labels, noise="const")
    torch.testing.assert_close(generator(z, F.one_hot(labels, 5).float(), noise="const"), images)
    torch.testing.assert_close(discriminator(images, F.one_hot(labels, 5)), discriminator(images, labels))
    assert not torch.allclose(generator(z, 4 - labels, noise="const"), images)
    assert discriminator(images, labels).shape == (4,)


@pytest.mark.parametrize(("num_classes", "labels", "message"), [
    (5, None, "needs labels"),
    (5, torch.tensor([0, 1, 2, 5]), "label 5 is out of range"),
    (5, torch.tensor([0, -1, 2, 3]), "label -1 is out of range"),
    (5, torch.zeros(4), "class indices"),
    (5, torch.zeros(4, 6), "class indices"),
    (5, torch.tensor([0, 1]), "class indices"),
    (0, torch.tensor([0, 1, 2, 3]), "unconditional"),
], ids=["missing", "too high", "negative", "not integers", "other attributes", "too few", "unconditional"])
def test_wrong_labels_are_refused_in_a_sentence(num_classes, labels, message):
    with pytest.raises(ValueError, match=message):
        small_generator(num_classes=num_classes)(keyed("z", 4, 16).float(), labels)
    with pytest.raises(ValueError, match=message):
        small_discriminator(num_classes=num_classes)(torch.zeros(4, 3, 32, 32), labels)


@pytest.mark.parametrize(("attempt", "message"), [
    (lambda: Generator(48), "not 48"),
    (lambda: Discriminator(2048), "not 2048"),
    (lambda: Discriminator(32, architecture="skip"), "architecture must be"),
    (lambda: small_generator()(torch.zeros(2, 17)), r"latents must have shape \[N, 16\]"),
    (lambda: small_generator().synthesis(torch.zeros(2, 7, 32)), r"styles must have shape \[N, 8, 32\]"),
    (lambda: small_discriminator()(torch.zeros(4, 3, 64, 64)), "images must have shape"),
    (lambda: small_discriminator()(torch.zeros(6, 3, 32, 32)), "cannot be cut"),
], ids=["resolution", "too large", "architecture", "latents", "styles", "images", "stddev group"])
def test_wrong_input_is_refused_in_a_sentence(attempt, message):
    with pytest.raises(ValueError, match=message):
        attempt()
