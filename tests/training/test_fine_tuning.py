"""Runs that begin with other weights: what is kept, what is fresh, what stays frozen, and what a resume needs."""

import contextlib
import json
import os
import shutil
import signal
from dataclasses import asdict
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
import torch
from harness import descendants, digest, ends, launch, start, wait_until
from interop.test_dcgan_parity import discriminator_state as dcgan_discriminator
from interop.test_dcgan_parity import generator_state as dcgan_generator
from interop.test_rosinality import discriminator_state as rosinality_discriminator
from interop.test_rosinality import generator_state as rosinality_generator
from models.test_biggan import discriminator_state as biggan_discriminator
from models.test_biggan import generator_state as biggan_generator
from models.test_biggan_deep import discriminator_state as deep_discriminator
from models.test_biggan_deep import generator_state as deep_generator
from models.test_r3gan import discriminator_state as r3gan_discriminator
from models.test_r3gan import generator_state as r3gan_generator
from models.test_stylegan2 import CASES as STYLES
from models.test_stylegan2 import discriminator_shapes, generator_shapes, state_of
from safetensors.torch import save_file

from scalegan import interop
from scalegan.averages.averages import Averages
from scalegan.checkpoints import exports, store
from scalegan.commands.convert import main as convert_file
from scalegan.config import loading
from scalegan.data.spec import Spec
from scalegan.errors import RecipeError, UserError
from scalegan.games.base import Game
from scalegan.interop.conversion import convert
from scalegan.training import build, label_rows, pretrained
from scalegan.training.fine_tuning import transfer
from scalegan.training.pretrained import Pretrained

MODELS = {
    "stylegan2": "channel_base: 256, channel_max: 16, latent_dim: 16, w_dim: 16, mapping_layers: 2",
    "r3gan": "width: 16, cardinality: 4, latent_dim: 8",
    "biggan": "width: 8, latent_dim: 8, attention: []",
    "dcgan": "width: 4, latent_dim: 8",
}


def recipe_of(model: str, resolution: int, *further: str):
    return loading.load(["recipe=quickstart", "data.path=unused", f"model={model}", f"data.resolution={resolution}",
                         *further])


def made(family: str, seed: int, resolution: int = 32, channels: int = 3, classes: int = 4, more: str = "",
         ) -> tuple[Game, Averages]:
    recipe = recipe_of(f"{{name: {family}, {MODELS[family]}{more}}}", resolution, f"seed={seed}", "emas={a: {}}")
    game = build.game(recipe, {"real": Spec("image", (channels, resolution, resolution), classes)})
    return game, Averages(recipe, {"G": game.players["G"]})


def pretrained_of(game: Game, classes: int) -> Pretrained:
    """As if the game had been trained; the average differs from the weights."""
    live = {name: player.state_dict() for name, player in game.players.items()}
    average = {name: tensor + 1 for name, tensor in live["G"].items()}
    return Pretrained(live, {"G": average}, classes, 0, "")


# What differs between the source and the run, and the layers that are then fresh in G and D.
LAYERS = {
    "the same networks": ("dcgan", {}, {}, [], []),
    "a higher resolution": ("stylegan2", {}, {"resolution": 64}, ["synthesis.blocks.64.*"],
                            ["fromrgb.*", "blocks.64.*"]),
    "a lower resolution": ("stylegan2", {"resolution": 64}, {}, [], ["fromrgb.*"]),
    "other channels": ("stylegan2", {}, {"channels": 1}, ["synthesis.blocks.*.torgb.[wb]*"], ["fromrgb.*"]),
    "no classes": ("stylegan2", {}, {"classes": 0}, ["mapping.network.layers.0.*"], ["out.*"]),
    "classes": ("stylegan2", {"classes": 0}, {}, ["mapping.network.layers.0.*", "mapping.network.embed.*"],
                ["out.*", "mapping.*"]),
    "more blocks": ("r3gan", {"more": ", blocks: 1"}, {"more": ", blocks: [1, 1, 2, 1]"}, ["stages.2.1.*"],
                    ["stages.1.1.*"]),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", LAYERS)
def test_layers_that_fit_are_the_sources_and_all_others_those_of_a_run_from_scratch(case: str) -> None:
    family, theirs, ours, *fresh = LAYERS[case]
    source, (game, averages) = made(family, 1, **theirs)[0], made(family, 2, **ours)
    scratch, _ = made(family, 2, **ours)
    given = pretrained_of(source, theirs.get("classes", 4))
    said = transfer(given, game.players, averages, ours.get("classes", 4))
    for player, patterns, line in zip("GD", fresh, said):
        assert ("fresh" in line) == bool(patterns)
        for name, tensor in game.players[player].state_dict().items():
            begun = any(fnmatchcase(name, pattern) for pattern in patterns)
            expected = scratch.players[player].state_dict() if begun else given.live[player]
            assert torch.equal(tensor, expected[name]), name
            for group in averages.groups.values() if player == "G" else ():
                average = group["G"].average.state_dict()[name]
                assert torch.equal(average, expected[name] if begun else given.averages["G"][name]), name


@pytest.mark.slow
@pytest.mark.parametrize("family", ["stylegan2", "biggan", "r3gan", "dcgan"])
@pytest.mark.parametrize("before, now", [(3, 5), (5, 3)])
def test_rows_of_classes_are_kept_and_new_ones_fresh(family: str, before: int, now: int) -> None:
    source, (game, averages) = made(family, 1, classes=before)[0], made(family, 2, classes=now)
    scratch, _ = made(family, 2, classes=now)
    transfer(pretrained_of(source, before), game.players, averages, now)
    found = 0
    for player in "GD":
        own, theirs = game.players[player].state_dict(), source.players[player].state_dict()
        for name, tensor in own.items():
            if tensor.shape == theirs[name].shape:
                assert torch.equal(tensor, theirs[name]), name
                continue
            found += 1
            axis = next(i for i, (a, b) in enumerate(zip(tensor.shape, theirs[name].shape)) if a != b)
            kept, rest = tensor.split([min(before, now), tensor.shape[axis] - min(before, now)], axis)
            assert torch.equal(kept, theirs[name].narrow(axis, 0, min(before, now)))
            fresh = scratch.players[player].state_dict()[name].narrow(axis, min(before, now), rest.shape[axis])
            assert torch.equal(rest, fresh)
    assert found >= 2


@pytest.mark.slow
@pytest.mark.parametrize("family", ["stylegan2", "biggan", "r3gan", "dcgan"])
@pytest.mark.parametrize("before, given, begin", [
    (3, "[2, null, 0]", {0: 2, 2: 0}), (3, "[1, 1, cat, dog]", {0: 1, 1: 1, 2: 2, 3: 0}),
    (4, "{old: 3, new: dog}", {1: 3, 0: 0}), (3, "{2: 1}", {2: 1})])
def test_rows_begin_with_those_of_the_classes_that_are_named(family: str, before: int, given: str, begin: dict) -> None:
    """The new classes are called new, old, 2, 3; the source's are called dog, fox, cat, cow."""
    now = 4 if "cat" in given else 3
    source, (game, averages) = made(family, 1, classes=before)[0], made(family, 2, classes=now)
    scratch, _ = made(family, 2, classes=now)
    recipe = recipe_of(f"{{name: {family}, {MODELS[family]}}}", 32, "init_from=there", f"init_classes={given}")
    spec = Spec("image", (3, 32, 32), now, label_names=("new", "old", "2", "3")[:now])
    rows = label_rows.of_recipe(recipe, {"real": spec}, spec, ("dog", "fox", "cat", "cow")[:before], before)
    theirs = pretrained_of(source, before)
    said = transfer(theirs, game.players, averages, now, rows)
    assert all(f"of labels {len(begin)} of {now}" in line and "fresh" not in line for line in said)
    networks = [(game.players[name], theirs.live[name], name) for name in "GD"]
    for network, held, player in [*networks, (averages.networks()["G"], theirs.averages["G"], "G")]:
        fresh, found = scratch.players[player].state_dict(), 0
        for name, tensor in network.state_dict().items():
            if name not in rows.axes[player]:
                assert torch.equal(tensor, held[name]), name
                continue
            found += 1
            axis = rows.axes[player][name]
            for row in range(now):
                expected = held[name].select(axis, begin[row]) if row in begin else fresh[name].select(axis, row)
                assert torch.equal(tensor.select(axis, row), expected), (name, row)
        assert found


@pytest.mark.parametrize("given, ours, theirs, says", [
    ([0], 2, 3, "names 1 classes of the source, and the run has 2"),
    ([0, 3], 2, 3, "the source has no class 3; give a number from 0 to 2"),
    ({2: 0}, 2, 3, "this run has no class 2; give a number from 0 to 1"),
    ({"b": "fxo"}, 2, 3, "the source has no class 'fxo'; did you mean 'fox'?"),
    ({"b": 0, 1: 0}, 2, 3, "names class 1 of this run twice"),
    ([0, -1], 2, 3, "the source has no class '-1'; its classes are dog, fox, cat"),
    ([], 0, 3, "this run has no classes; set data.labels"),
    ([0, 0], 2, 0, "the source has no classes; leave it out"),
])
def test_classes_that_do_not_exist_are_named_in_a_line(given, ours: int, theirs: int, says: str) -> None:
    with pytest.raises(RecipeError) as error:
        label_rows.pairs(given, (("a", "b")[:ours], ours), (("dog", "fox", "cat")[:theirs], theirs))
    assert says in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(RecipeError, match=r"init_classes: the source has no class 'x'.*not known by name"):
        label_rows.pairs(["x"], ((), 1), ((), 4))


def test_init_classes_without_a_source_is_refused() -> None:
    with pytest.raises(RecipeError, match="set init_from, or leave out init_classes"):
        recipe_of("{name: dcgan}", 32, "init_classes=[0]")


def test_a_player_without_labels_keeps_everything_whatever_init_classes_says() -> None:
    players, theirs = ({name: torch.nn.Linear(2, 3) for name in ("G", "E")} for _ in range(2))
    source = Pretrained({name: network.state_dict() for name, network in theirs.items()}, {}, 3, 0, "")
    rows = label_rows.LabelRows((0, 1), (2, 0), {"G": {"weight": 0, "bias": 0}, "E": {}})
    fresh = players["G"].bias[2].item()
    averages = Averages(recipe_of("{name: mlp}", 16), {})
    said = transfer(source, players, averages, 3, rows)
    assert players["E"].weight.equal(theirs["E"].weight) and "2 of 2 layers" in said[1]
    assert players["G"].bias.tolist() == [theirs["G"].bias[2].item(), theirs["G"].bias[0].item(), fresh]


def test_where_there_is_only_one_of_weights_and_average_it_serves_for_both() -> None:
    source = pretrained_of(made("dcgan", 1)[0], 4)
    for given, held in ((Pretrained(source.live, {}, 4, 0, ""), source.live["G"]),
                        (Pretrained({}, source.averages, 4, 0, ""), source.averages["G"])):
        game, averages = made("dcgan", 2)
        scratch, _ = made("dcgan", 2)
        said = transfer(given, game.players, averages, 4)
        for network in (game.players["G"], averages.networks()["G"]):
            assert all(torch.equal(tensor, held[name]) for name, tensor in network.state_dict().items())
        of_d = given.live.get("D") or scratch.players["D"].state_dict()
        assert all(torch.equal(tensor, of_d[name]) for name, tensor in game.players["D"].state_dict().items())
        assert any("D: fresh" in line for line in said) == (not given.live)


def narrow(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.float() if value.is_floating_point() else value for name, value in state.items()}


PUBLISHED = {
    "dcgan": (dcgan_generator((12, 32, 16, 8, 4, 3)), dcgan_discriminator()),
    "biggan": (biggan_generator((16, 16, 16, 16), classes=3, first=12), biggan_discriminator(
        (16, 16, 16, 16), classes=3, down=(True, True, False, False))),
    "biggan_deep": (deep_generator((16, 16, 16, 16), classes=3, latent=10, shared=6),
                    deep_discriminator((16, 16, 16, 16), classes=3)),
    "stylegan2": (state_of(generator_shapes(**STYLES["cond-resnet-clamped"])),
                  state_of(discriminator_shapes(**STYLES["cond-resnet-clamped"]))),
    "r3gan": (r3gan_generator((16, 16, 8), (4, 4, 2), (1, 2, 2), latent=6, classes=3, embedding=5),
              r3gan_discriminator((8, 16, 16), (2, 4, 4), (2, 2, 1), classes=3, embedding=16)),
}


@pytest.mark.slow
@pytest.mark.parametrize("family", PUBLISHED)
def test_published_files_give_g_its_average_and_d(family: str, tmp_path: Path) -> None:
    of_g, of_d = map(narrow, PUBLISHED[family])
    moved = {name: value if name.endswith(("filter", "Kernel")) else value * 2 for name, value in of_g.items()}
    torch.save({"G": of_g, "D": of_d, "G_ema": moved}, tmp_path / "all.pt")
    description = convert(of_g, family.removesuffix("_deep"))
    model = json.dumps(description.model).replace('"', "")
    recipe = recipe_of(model, description.resolution)
    game = build.game(recipe, description.specs)
    averages = Averages(recipe, {"G": game.players["G"]})
    source = pretrained.read(tmp_path / "all.pt", family)
    assert [line.split(";")[0] for line in transfer(source, game.players, averages, source.labels)] == [
        f"  {player}: {len(layers)} of {len(layers)} layers" for player, layers in
        ((p, {n.rpartition('.')[0].removesuffix('.normed') or n for n in game.players[p].state_dict()}) for p in "GD")]
    live, average = game.players["G"].state_dict(), averages.networks()["G"].state_dict()
    assert all(torch.equal(live[name], tensor) for name, tensor in description.generator.state_dict().items())
    assert any(not torch.equal(live[name], average[name]) for name in live)
    torch.save(of_d, tmp_path / "D.pt")
    alone = pretrained.read(tmp_path / "D.pt", family)
    assert set(alone.live) == {"D"} and not alone.averages


CONVERTED = {   # family -> what the run has otherwise, and the layers of G and D that are then fresh
    "stylegan2": ({}, [], []),
    "stylegan2, at 128 px": ({"resolution": 128}, ["synthesis.blocks.128"],
                             ["fromrgb 15x3x1x1 -> 7x3x1x1", "blocks.128"]),
    "stylegan2, with 7 classes": ({"classes": 7}, [], []),
    "stylegan2, of grey images": ({"channels": 1}, ["synthesis.blocks.4.torgb 3x20x1x1 -> 1x20x1x1"],
                                  ["fromrgb 15x3x1x1 -> 15x1x1x1"]),
    "dcgan": ({}, [], []), "biggan": ({}, [], []), "r3gan": ({}, [], []),
    "biggan_deep, with 2 classes": ({"classes": 2}, [], []),
    "rosinality, at 64 px": ({"resolution": 64}, ["synthesis.blocks.64"], ["blocks.64"]),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CONVERTED)
def test_a_converted_file_gives_g_its_average_and_d_and_lists_the_rest(case: str, tmp_path: Path) -> None:
    name, (differing, *fresh) = case.split(",")[0], CONVERTED[case]
    states = (rosinality_generator(), rosinality_discriminator()) if name == "rosinality" else PUBLISHED[name]
    of_g, of_d = map(narrow, states)
    moved = {key: value if key.endswith(("filter", "ernel")) else value * 2 for key, value in of_g.items()}
    torch.save({"G": of_g, "G_ema": moved, **({} if name == "dcgan" else {"D": of_d})}, tmp_path / "all.pt")
    torch.save(of_d, tmp_path / "D.pt")
    family = {"rosinality": "stylegan2", "biggan_deep": "biggan"}.get(name, name)
    out, beside = tmp_path / "out.safetensors", [f"discriminator={tmp_path / 'D.pt'}"] if name == "dcgan" else []
    assert convert_file([str(tmp_path / "all.pt"), "--family", family, "--out", str(out), *beside]) == 0
    about = exports.load(out).about
    model, spec = dict(about["model"]), Spec.of(about["spec"])
    source = pretrained.read(out, model["name"])
    channels, side = differing.get("channels", spec.shape[0]), differing.get("resolution", spec.shape[1])
    classes = differing.get("classes", spec.classes)
    recipe = recipe_of(json.dumps(model).replace('"', ""), side)
    game = build.game(recipe, {"real": Spec("image", (channels, side, side), classes)})
    averages = Averages(recipe, {"G": game.players["G"]})
    said = transfer(source, game.players, averages, classes)
    assert len(said) == 2 and not any("from its average" in line for line in said)
    for line, expected in zip(said, fresh):
        assert ("fresh" in line) == bool(expected) and all(layer in line for layer in expected), line
        assert ("of labels" in line) == ("classes" in differing)
    kept = getattr(interop, f"{family}_generator")(of_g).float().state_dict()
    average = getattr(interop, f"{family}_generator")(moved).float().state_dict()
    of_d = getattr(interop, f"{family}_discriminator")(of_d).float().state_dict()
    for network, held in ((game.players["G"], kept), (averages.networks()["G"], average), (game.players["D"], of_d)):
        state = network.state_dict()
        misfits = {key.rpartition(".")[0] for key in state if key not in held or state[key].shape != held[key].shape}
        same = [key for key in state if key.rpartition(".")[0] not in misfits]
        assert len(same) > len(state) / 2 and all(torch.equal(state[key], held[key]) for key in same)


def test_a_discriminator_that_does_not_belong_to_the_generator_is_not_taken(tmp_path: Path, capsys) -> None:
    of_g, of_d = narrow(dcgan_generator((12, 32, 16, 8, 4, 3))), narrow(dcgan_discriminator())
    of_d = {name: torch.cat([value, value]) if name == "main.0.weight" else value for name, value in of_d.items()}
    torch.save({"netG": of_g, "netD": of_d}, tmp_path / "all.pt")
    out = tmp_path / "out.safetensors"
    assert convert_file([str(tmp_path / "all.pt"), "--family", "dcgan", "--out", str(out)]) == 0
    assert "discriminator is left out" in capsys.readouterr().err
    assert not pretrained.read(out, "dcgan").live
    torch.save({"netG": of_g, "netD": {"optimizer": 1}}, tmp_path / "none.pt")
    assert convert_file([str(tmp_path / "none.pt"), "--family", "dcgan", "--out", str(out)]) == 0
    torch.save(of_d, tmp_path / "D.pt")
    with pytest.raises(UserError, match="dcgan: "):
        convert_file([str(tmp_path / "all.pt"), f"discriminator={tmp_path / 'D.pt'}", "--family", "dcgan", "--out",
                      str(tmp_path / "other.safetensors")])
    assert not (tmp_path / "other.safetensors").exists()


def damaged(folder: Path) -> dict[str, tuple[Path, str, str]]:
    """Sources by what is wrong with them, the family asked for, and what the error says."""
    game, _ = made("dcgan", 1)
    recipe = recipe_of(f"{{name: dcgan, {MODELS['dcgan']}}}", 32)
    exports.save(exports.of_model(game.players["G"], asdict(recipe.model), Spec("image", (3, 32, 32), 4), 0),
                 folder / "whole.safetensors")
    content = (folder / "whole.safetensors").read_bytes()
    (folder / "cut.safetensors").write_bytes(content[:-100])
    (folder / "text.pt").write_text("hello")
    (folder / "empty").mkdir()
    state = narrow(PUBLISHED["dcgan"][0])
    save_file(state, folder / "dcgan.safetensors")
    state["main.0.weight"] = state["main.0.weight"] * float("nan")
    save_file(state, folder / "nan.safetensors")
    return {"missing": (folder / "missing", "dcgan", "does not exist"),
            "no run": (folder / "empty", "dcgan", "neither a run folder"),
            "cut off": (folder / "cut.safetensors", "dcgan", "cannot be read"),
            "text": (folder / "text.pt", "dcgan", "cannot be read"),
            "another family's export": (folder / "whole.safetensors", "r3gan", "model.name=dcgan, not r3gan"),
            "another family's file": (folder / "dcgan.safetensors", "stylegan2",
                                      "no generator of model.name=stylegan2"),
            "no published layout": (folder / "dcgan.safetensors", "mlp", "no published layout of model.name=mlp"),
            "not finite": (folder / "nan.safetensors", "dcgan", "not finite")}


def test_what_cannot_be_a_source_is_refused_in_a_line(tmp_path: Path) -> None:
    for what, (path, family, message) in damaged(tmp_path).items():
        with pytest.raises(UserError) as error:
            pretrained.read(path, family)
        assert message in str(error.value) and "\n" not in str(error.value), what
        assert str(path) in str(error.value), what
    whole = pretrained.read(tmp_path / "whole.safetensors", "dcgan")
    game, averages = made("dcgan", 2)
    assert not transfer(whole, {"E": game.players["D"]}, averages, 4)


@pytest.mark.parametrize("pattern, message", [
    ("D.featurs.0", "did you mean 'D.features.0'"), ("D.blocks.*", "matches no parameter of G or D"),
    ("D", "nothing of D to train"), ("", "matches no parameter")])
def test_freezing_nothing_or_everything_is_refused(pattern: str, message: str) -> None:
    recipe = recipe_of(f"{{name: dcgan, {MODELS['dcgan']}}}", 32, f"freeze=['{pattern}']")
    with pytest.raises(RecipeError, match=message):
        build.game(recipe, {"real": Spec("image", (3, 32, 32))})


# --- Runs -------------------------------------------------------------------------------------------------------

FROZEN = ("D.features.0", "D.features.2.*", "G.stem.*")


@pytest.fixture(scope="module")
def source(tiny_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "source"
    launch(1, f"recipe={tiny_recipe}", f"run_dir={run}", "total_images=640", "snapshot.every_images=0")
    return run


def keys(tiny_recipe: Path, source: Path, run: Path) -> list[str]:
    return [f"recipe={tiny_recipe}", f"run_dir={run}", f"init_from={source}", "total_images=640", "seed=5",
            "snapshot.every_images=0", "checkpoint.every_images=128", f"freeze=[{','.join(FROZEN)}]",
            "optimizer={default: {lr: 1e-3, weight_decay: 0.1}}"]


@pytest.mark.slow
def test_fine_tuning_is_the_same_on_any_ranks_and_goes_on_without_its_source(
        tiny_recipe: Path, source: Path, tmp_path: Path) -> None:
    given, moved = tmp_path / "source", tmp_path / "killed"
    shutil.copytree(source, given)
    alone = tmp_path / "alone"
    launch(1, *keys(tiny_recipe, given, alone))
    launch(2, *keys(tiny_recipe, given, tmp_path / "two"))
    process = start(*keys(tiny_recipe, given, moved), ranks=2)
    wait_until(lambda: list(moved.glob("checkpoints/*/COMPLETE")), "there is a checkpoint")
    for pid in {process.pid, *descendants(process.pid)}:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
    shutil.rmtree(given)
    launch(1, *keys(tiny_recipe, given, moved))
    assert digest(moved) == digest(alone) == digest(tmp_path / "two") != digest(source)

    before, after = (store.read(store.complete(run / "checkpoints")[-1]) for run in (source, alone))
    frozen = {name for name in after if name.startswith(("game/", "ema/")) and any(
        fnmatchcase(f"{name.replace('game/', '').replace('ema/', 'G.')}", f"{pattern.removesuffix('.*')}.*")
        for pattern in FROZEN) and "running" not in name}
    assert len(frozen) == 8
    for name in after:
        if name.startswith(("game/", "ema/")) and before[name].is_floating_point():
            assert torch.equal(before[name], after[name]) == (name in frozen), name
    assert not [name for name in after if name.startswith("optimizer/D/features.0.")]


@pytest.mark.slow
def test_other_weights_than_a_run_began_with_make_another_run(tiny_recipe: Path, source: Path, tmp_path: Path) -> None:
    run, others, same = tmp_path / "run", tmp_path / "others", tmp_path / "same"
    launch(1, *keys(tiny_recipe, source, run), "total_images=128")
    launch(1, *keys(tiny_recipe, source, others), "init_from=null", "total_images=128")
    shutil.copytree(source, same)
    recorded = json.loads((store.complete(run / "checkpoints")[-1] / "state.json").read_text())["recipe"]
    assert recorded["init_content"] == pretrained.read(source, "dcgan").digest
    for changed, message in ((f"init_from={others}", "began with the weights of"), ("init_from=null", "init_from=null"),
                             ("init_from=nowhere", "nowhere does not exist"), ("freeze=[]", "freeze"),
                             ("init_classes={0: 1}", "init_classes=None")):
        [(code, said)] = ends(1, *keys(tiny_recipe, source, run), changed)
        assert code in (1, 2) and message in said and "\n" not in said
    [(code, said)] = ends(1, *keys(tiny_recipe, source, others), "total_images=192")
    assert code == 2 and "began with random weights" in said
    launch(1, *keys(tiny_recipe, source, run), f"init_from={same}")     # the same weights in another place
    assert store.complete(run / "checkpoints")[-1].name == f"{640:012d}"
