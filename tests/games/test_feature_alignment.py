"""Representation alignment: its term against the formula, what the frozen network sees, and where it is kept."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from small_games import SAMPLES, Witness, batch_for
from torch import nn

from scalegan.augment.diffaugment import translation
from scalegan.config import loading
from scalegan.data.spec import Spec
from scalegan.engines.ddp import DDPEngine
from scalegan.engines.ranks import Ranks
from scalegan.errors import RecipeError
from scalegan.games.gan.game import GAN
from scalegan.models import families
from scalegan.models.backbone import Backbone
from scalegan.randomness import Draws
from scalegan.support.digests import digest_of
from scalegan.training import build

KEYS = {"run_dir": "-", "total_images": 1, "data": {"path": "-", "resolution": 8}, "optimizer": {"default": {}},
        "augment": {"name": "diffaugment"},
        "model": {"name": "gat", "patch": 2, "depth": 2, "width": 16, "heads": 2, "outputs": 2, "latent_dim": 4}}


class Tokens(nn.Module):
    """A map as tokens after one of the whole, which is not their mean."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = self.conv(x).flatten(2).transpose(1, 2)
        return torch.cat([found[:, :1] * 2, found], 1)


@pytest.fixture
def script(tmp_path: Path) -> Path:
    torch.jit.script(Tokens()).save(tmp_path / "network.pt")
    return tmp_path / "network.pt"


def game(file: Path | str, spec: Spec | None = None, **keys: object) -> GAN:
    aligned = {"backbone": str(file), "size": 32, "hidden": 7, "weight": 3.0}
    recipe = loading.parse({**KEYS, **keys, "game": {"loss": "relativistic", "tricks": {"alignment": aligned},
                                                     "penalties": {"r1": {"method": "finite_difference"}}}}, "test")
    return build.game(recipe, {"real": spec or Spec("image", (3, 8, 8))})


def test_the_term_is_the_cosines_of_the_whole_and_of_the_patches(script: Path) -> None:
    played = game(script)
    phase = played.phases[0]
    batch = batch_for({"real": Spec("image", (3, 8, 8))}, Draws(0, 0, "D", torch.arange(SAMPLES)))
    draws = batch.draws.of("augment/real")
    x = F.interpolate(translation(batch.reals, draws), [32, 32], mode="bicubic")
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    found = torch.jit.load(str(script))(((x + 1) / 2 - mean) / std)                         # [n, 1 + 16, 5]
    with torch.no_grad():
        token, tokens = played.D(played.augment(batch.reals, draws, 0), features=True)
    expected = 3 * (2 - F.cosine_similarity(token, found[:, 0], 1).mean()
                    - F.cosine_similarity(tokens, found[:, 1:], 2).mean())
    witnesses = {name: Witness(player) for name, player in played.players.items()}
    figures = DDPEngine(played, witnesses, Ranks(0, 1, torch.device("cpu")), SAMPLES).update(phase, batch)
    assert figures["alignment"].item() == pytest.approx(expected.item(), rel=1e-4)
    names = [name for name, _ in played.D.named_parameters()]
    assert all(gradient.any() for name, gradient in zip(names, witnesses["D"].found) if name.startswith("projector"))


def test_the_network_is_identity_and_not_in_checkpoints(script: Path) -> None:
    played = game(script)
    assert list(played.fixed) == ["backbone"] and not any("backbone" in name for name in played.state_dict())
    digest = digest_of(played.fixed["backbone"])
    assert digest == digest_of(game(script).fixed["backbone"])
    torch.jit.script(Tokens()).save(script)
    assert digest != digest_of(game(script).fixed["backbone"])


@pytest.mark.parametrize("answer, parts", [(torch.zeros(2, 6), (1, 1)), (torch.zeros(2, 6, 3, 3), (3, 3)),
                                           (torch.zeros(2, 9, 6), (3, 3)), (torch.zeros(2, 10, 6), (3, 3))])
def test_vectors_maps_and_tokens_are_features(answer: torch.Tensor, parts: tuple[int, int]) -> None:
    class Fixed(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return answer
    whole, of_parts = Backbone(Fixed(), 32, True)(torch.zeros(2, 1, 8, 8))
    assert whole.shape == (2, 6) and of_parts.shape == (2, 6, *parts)


def test_what_does_not_go_together_is_named(script: Path, tmp_path: Path) -> None:
    for keys, says in (({"augment": {"name": "ada"}}, "set augment.name=diffaugment"),
                       ({"model": {"name": "dcgan"}, "data": {"path": "-", "resolution": 16}}, "model.name=gat")):
        with pytest.raises(RecipeError, match=says):
            loading.load(["recipe=gat_cifar10_small", "data.path=x", "game.tricks.alignment={}",
                          *(f"{key}.name={value['name']}" for key, value in keys.items() if "name" in value)])
    with pytest.raises(RecipeError, match="latents with 4; leave it out"):
        game(script, Spec("latent", (4, 8, 8)))
    (tmp_path / "text.pt").write_text("nothing")
    (tmp_path / "text.safetensors").write_text("nothing")
    for name, says in (("missing.pt", "no such file"), ("text.pt", "not a TorchScript file"),
                       ("text.safetensors", "not the weights of an EfficientNet-Lite0")):
        with pytest.raises(RecipeError, match=says):
            game(tmp_path / name)


@pytest.mark.slow
def test_the_packaged_network_serves() -> None:
    pytest.importorskip("efficientnet_lite_pytorch")
    whole, parts = families.backbone("efficientnet_lite0", 224).eval()(torch.zeros(2, 3, 32, 32))
    assert whole.shape == (2, 112) and parts.shape == (2, 112, 14, 14)
