"""Recipes: what is refused and how, composition, and the round trip through YAML."""

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from harness import ROOT, TRAIN, cli, environment
from omegaconf import OmegaConf

from scalegan import config
from scalegan.config import catalogue, loading
from scalegan.config.help import describe_keys
from scalegan.config.ranks import check_world
from scalegan.errors import RecipeError

QUICK = "recipe=quickstart"

# Arguments, and what the one-line error must contain.
WRONG = {
    "misspelt recipe": (["recipe=quickstat"], ["no recipe 'quickstat'", "did you mean 'quickstart'"]),
    "no recipe": (["seed=1"], ["recipe=NAME"]),
    "two recipes": ([QUICK, "recipe=lsun_bedroom"], ["recipe=NAME"]),
    "missing file": (["recipe=nowhere/else.yaml"], ["no recipe file nowhere/else.yaml"]),
    "not key=value": ([QUICK, "--fast"], ["'--fast' is not of the form key=value"]),
    "misspelt key": ([QUICK, "sed=1"], ["unknown key 'sed'", "did you mean 'seed'"]),
    "misspelt nested key": ([QUICK, "data.pth=x"], ["unknown key 'data.pth'", "did you mean 'data.path'"]),
    "misspelt group": ([QUICK, "dta.path=x"], ["unknown key 'dta", "'data"]),
    "misspelt key of a model": ([QUICK, "model.widht=8"], ["unknown key 'model.widht'", "'model.width'"]),
    "misspelt key of an optimizer": ([QUICK, "optimizer.G.rl=1"], ["'optimizer.G.rl'", "'optimizer.G.lr'"]),
    "misspelt penalty": ([QUICK, "game.penalties.r1.gama=1"], ["r1.gama'", "'game.penalties.r1.gamma'"]),
    "another player": ([QUICK, "optimizer.Q.lr=1"], ["optimizer must name the players G and D"]),
    "a stream that the game does not have": ([QUICK, "streams.B.path=x"], ["streams.B", "no such stream"]),
    "held out for the first stream": ([QUICK, "eval.streams.real.path=x"], ["the game's first stream; use eval.data"]),
    "misspelt default": ([QUICK, "optimizer.defualt.lr=1"], ["did you mean 'default'"]),
    "a key of another game": ([QUICK, "game.name=infogan", "game={name: infogan, steps: 3}"],
                              ["unknown key 'game.steps': game.name=infogan has no such key"]),
    "misspelt model": ([QUICK, "model.name=dcgn"], ["model.name=dcgn", "did you mean 'dcgan'"]),
    "misspelt loss": ([QUICK, "game.loss=hing"], ["game.loss=hing", "did you mean 'hinge'"]),
    "a word for a number": ([QUICK, "batch_size=many"], ["batch_size=many", "integer"]),
    "a fraction for a count": ([QUICK, "total_images=0.5"], ["total_images=0.5", "integer"]),
    "nothing to do": ([QUICK, "total_images=0"], ["total_images=0", "greater than 0"]),
    "negative workers": ([QUICK, "data.workers=-1"], ["data.workers=-1"]),
    "a decay of one": ([QUICK, "optimizer.D.betas=[0,1]"], ["optimizer.D.betas"]),
    "one checkpoint": ([QUICK, "checkpoint.keep=1"], ["checkpoint.keep=1", "greater than or equal to 2"]),
    "lanes and batch": ([QUICK, "lanes=7"],
                        ["quickstart.yaml and command line: lanes=7 does not divide batch_size=64; change one"]),
    "micro-batch and batch": ([QUICK, "micro_batch_size=24"],
                              ["micro_batch_size=24 does not divide batch_size=64; change"]),
    "norm group and batch": ([QUICK, "model.norm_group=24"],
                             ["batch_size=64; change one of them, or set model.norm_group=batch"]),
    "resolution of DCGAN": ([QUICK, "data.resolution=48"], ["data.resolution=48", "16, 32, 64, 128, 256"]),
    "images of points": ([QUICK, "data.backend=points"], ["model.name=mlp"]),
    "the same player twice": ([QUICK, "game.order=[D,D]"], ["game.order"]),
    "no batch to begin with": ([QUICK, "game.fresh_batch=[G]"], ["game.fresh_batch must include D"]),
    "relativistic, bare": ([QUICK, "game.loss=relativistic"], ["game.penalties.r1.gamma"]),
    "no noise": ([QUICK, "game.penalties.r1={method: finite_difference, sigma: 0}"], ["r1.sigma=0", "greater than 0"]),
    "a share of nothing": ([QUICK, "game.penalties.r2={method: finite_difference, share: 0}"],
                           ["r2.share=0", "greater than 0"]),
    "more than the batch": ([QUICK, "game.penalties.r1={method: finite_difference, share: 1.5}"],
                            ["r1.share=1.5", "less than or equal to 1"]),
    "sigma of an exact penalty": ([QUICK, "game.penalties.r2={gamma: 1, sigma: 0.1}"],
                                  ["r2.sigma applies only to game.penalties.r2.method=finite_difference; set that"]),
    "differences of WGAN-GP": ([QUICK, "game.penalties.gradient.method=finite_difference"],
                               ["unknown key 'game.penalties.gradient.method'"]),
    "a bound of nothing": ([QUICK, "optimizer.D.clip_norm=0"], ["optimizer.D.clip_norm=0", "greater than 0"]),
    "no data": ([QUICK, "data.path=''"], ["data.path is not given"]),
    "unbalanced brackets": ([QUICK, "game.order=[D"], ["overrides"]),
}


@pytest.mark.parametrize("arguments, says", WRONG.values(), ids=WRONG.keys())
def test_wrong_command_line(arguments: list[str], says: list[str]) -> None:
    with pytest.raises(RecipeError) as caught:
        loading.load(arguments)
    message = str(caught.value)
    for part in says:
        assert part in message
    assert "\n" not in message and len(message) < 300
    assert caught.value.exit_code == 2


# A recipe's text, the command line's keys, and how the error begins.
ORIGINS = {
    "the file": ("model: {widht: 8}", ["seed=1"], "mine.yaml: unknown key 'model.widht'"),
    "the file, beside an override": ("model: {widht: 8}", ["model.width=8"], "mine.yaml: unknown key 'model.widht'"),
    "a name in the file": ("model: {name: dcgn}", ["model.width=8"], "mine.yaml: model.name=dcgn"),
    "a name on the command line": ("", ["model.name=dcgn"], "command line: model.name=dcgn"),
    "the command line": ("", ["model.widht=8"], "command line: unknown key 'model.widht'"),
    "a group given as a value": ("", ["data=photos"], "command line: data=photos"),
    "a combination in the file": ("lanes: 7", ["seed=1"], "mine.yaml: lanes=7 does not divide"),
    "a combination of both": ("batch_size: 56", ["lanes=5"], "mine.yaml and command line: lanes=5 does not divide"),
    "a parent that is missing": ("extends: [nowhere]", [], "mine.yaml: extends 'nowhere', but there is no such recipe; "
                                 "use a name from `scalegan recipes`, or a file beside this one, without .yaml"),
}


@pytest.mark.parametrize("text, overrides, begins", ORIGINS.values(), ids=ORIGINS.keys())
def test_an_error_names_the_place_of_the_mistake(text: str, overrides: list[str], begins: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("\n".join([text, *([] if "extends" in text else ["extends: [quickstart]"])]))
    with pytest.raises(RecipeError) as caught:
        loading.load([f"recipe={path}", *overrides])
    assert str(caught.value).startswith(begins)


def test_a_recipe_without_keys_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("- quickstart")
    with pytest.raises(RecipeError, match="is not a recipe: it must consist of `key: value` lines"):
        loading.load([f"recipe={tmp_path / 'mine.yaml'}"])


# Wrong only on that many ranks.
WRONG_ON_RANKS = {
    "ranks and lanes": (3, [], "use 2 ranks"),
    "no micro-batch for the tree": (2, ["engine.reduction=tree", "micro_batch_size=null"], "needs micro_batch_size"),
    "a micro-batch wider than the share": (4, ["engine.reduction=tree", "micro_batch_size=32"], "power of two"),
    "all of a batch in parts": (1, ["model.norm_group=batch", "micro_batch_size=16"], "leave out micro_batch_size"),
    "all of an image-to-image batch in parts": (
        1, ["game={name: pix2pix, input: grey}", "model={name: unet, norm: batch, norm_group: batch}",
            "data.labels=none", "data.resolution=32", "micro_batch_size=16"], "leave out micro_batch_size"),
    "all of an upscaler's batch in parts": (
        1, ["game={name: srgan}", "model={name: srresnet, norm_group: batch}", "data.labels=none",
            "data.resolution=32", "micro_batch_size=16"], "leave out micro_batch_size"),
    "a norm group beside the micro-batch": (2, ["model.norm_group=32", "micro_batch_size=16"], "norm_group=32"),
}


@pytest.mark.parametrize("ranks, overrides, says", WRONG_ON_RANKS.values(), ids=WRONG_ON_RANKS.keys())
def test_wrong_on_that_many_ranks(ranks: int, overrides: list[str], says: str) -> None:
    recipe = loading.load([QUICK, *overrides])
    with pytest.raises(RecipeError, match=says):
        check_world(recipe, ranks)


@pytest.mark.parametrize("ranks, micro_batch", [(1, 16), (2, 16), (4, 16)])
def test_the_micro_batch_is_the_same_on_any_number_of_ranks(ranks: int, micro_batch: int) -> None:
    assert check_world(loading.load([QUICK]), ranks) == micro_batch


def test_a_mistake_gives_one_line_and_exit_code_2_fast() -> None:
    began = time.monotonic()
    done = subprocess.run([sys.executable, str(TRAIN), QUICK, "sede=1"], capture_output=True, text=True,
                          env=environment(), timeout=60)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "scalegan: error: command line: unknown key 'sede'; did you mean 'seed'?\n"
    assert time.monotonic() - began < 15


def test_misspelt_verb() -> None:
    done = cli("trian", QUICK)
    assert done.returncode == 2
    assert done.stderr == ("scalegan: error: there is no command 'trian' (`scalegan --help` lists them); "
                           "did you mean 'train'?\n")


@pytest.mark.parametrize("arguments", [["recipes"], ["train", "--help"], ["train", QUICK, "--print-config"], ["--help"],
                                       ["train", QUICK, "sede=1"]], ids=" ".join)
def test_nothing_imports_torch_before_it_must(arguments: list[str]) -> None:
    code = ("import sys; from scalegan.cli import main; sys.argv[1:] = sys.argv[1:]; main(); "
            "assert 'scalegan.config.catalogue' in sys.modules or sys.argv[1] == '--help'; "
            "sys.exit('torch' in sys.modules)")
    done = subprocess.run([sys.executable, "-c", code, *arguments], env=environment(), capture_output=True, text=True,
                          timeout=60)
    assert done.returncode == 0, done.stderr


def test_no_verb_imports_torch_before_it_knows_what_to_do() -> None:
    code = ("import sys; from importlib import import_module; from scalegan.cli import VERBS; "
            "[import_module(module) for module, _ in VERBS.values()]; sys.exit('torch' in sys.modules)")
    assert subprocess.run([sys.executable, "-c", code], env=environment(), timeout=60).returncode == 0


def test_help_names_every_key_with_its_meaning() -> None:
    rows = {key: meaning for key, _, meaning in describe_keys()}
    assert {"seed", "data.path", "model.width", "model.hidden", "engine.reduction", "game.penalties.r1.gamma",
            "optimizer.PLAYER.lr", "ema.half_life_images"} <= rows.keys()
    assert [key for key, meaning in rows.items() if not meaning and not key.endswith(".name")] == []


@pytest.mark.parametrize("name", catalogue.available())
def test_every_recipe_loads_and_prints_itself(name: str, tmp_path: Path) -> None:
    recipe = loading.load([f"recipe={name}"])
    path = tmp_path / "printed.yaml"
    path.write_text(loading.to_yaml(recipe))
    assert loading.load([f"recipe={path}"]) == recipe


def test_every_recipe_has_a_description() -> None:
    found = catalogue.available()
    assert {"quickstart", "toy_lecture", "dcgan_cifar10", "lsun_bedroom", "celeba_dcgan"} <= found.keys()
    assert [name for name, about in found.items() if len(about) < 20] == []


def test_overrides_win_and_are_typed() -> None:
    recipe = loading.load([QUICK, "optimizer.G.lr=1e-4", "seed=7", "data.flip=on", "model.norm_group=batch",
                           "game.penalties.r1.gamma=10", "micro_batch_size=null", "game.updates={D: 5}"])
    assert recipe.optimizer["G"].lr == 1e-4 and recipe.optimizer["D"].lr == 4e-4
    assert recipe.optimizer["G"].betas == (0.5, 0.99)  # other keys of G stay
    assert recipe.seed == 7
    assert recipe.data.flip is True
    assert recipe.model.norm_group == "batch"
    assert recipe.game.penalties.r1 == config.R1(gamma=10)
    assert recipe.micro_batch_size is None
    assert recipe.game.updates == {"D": 5}


@pytest.mark.parametrize(("keys", "expected"), [([], 64), (["data.resolution=32"], 32),
                                                (["data.resolution=32", "streams.B.resolution=16"], 16)])
def test_streams_have_the_resolution_of_data_unless_they_name_one(keys: list[str], expected: int) -> None:
    recipe = loading.load(["recipe=cyclegan_faces", "data.path=a", "streams.B.path=b", *keys])
    assert recipe.streams["B"].resolution == expected


def test_scientific_notation_in_a_file_is_a_number(tmp_path: Path) -> None:
    """PyYAML reads 1e-4 as a string."""
    (tmp_path / "mine.yaml").write_text("extends: quickstart\noptimizer: {G: {lr: 1e-4}}\nlanes: 4\n")
    assert loading.load([f"recipe={tmp_path / 'mine.yaml'}"]).optimizer["G"].lr == 1e-4


def test_optimizer_default_is_for_players_that_are_not_named(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("""
data: {backend: points, path: ring8, flip: false}
model: {name: mlp}
total_images: 64
batch_size: 32
optimizer: {default: {lr: 3e-4, betas: [0, 0.9]}, D: {lr: 4e-4}}
""")
    mine = f"recipe={tmp_path / 'mine.yaml'}"
    found = loading.load([mine]).optimizer
    assert found.keys() == {"G", "D"}
    assert (found["G"].lr, found["G"].betas) == (3e-4, (0, 0.9))
    assert (found["D"].lr, found["D"].betas) == (4e-4, config.Optimizer().betas)
    assert loading.load([mine, "optimizer.default.lr=1e-3"]).optimizer["G"].lr == 1e-3
    (tmp_path / "mine.yaml").write_text((tmp_path / "mine.yaml").read_text().replace("default", "G2"))
    with pytest.raises(RecipeError, match="optimizer must name the players G and D"):
        loading.load([mine])


def test_extends_in_order_and_nearest_wins(tmp_path: Path) -> None:
    (tmp_path / "first.yaml").write_text("batch_size: 8\nseed: 1\nlanes: 4\ndata: {path: a, resolution: 32}\n")
    (tmp_path / "second.yaml").write_text("seed: 2\nlanes: 2\ndata: {path: b}\n")
    (tmp_path / "mine.yaml").write_text("extends: [first, second]\nlanes: 1\ntotal_images: 8\n"
                                        "model: {name: dcgan, norm_group: 8}\n")
    recipe = loading.load([f"recipe={tmp_path / 'mine.yaml'}"])
    assert (recipe.batch_size, recipe.seed, recipe.lanes) == (8, 2, 1)
    assert (recipe.data.path, recipe.data.resolution) == ("b", 32)
    assert recipe.run_dir == "runs/mine"


def test_a_missing_base_is_reported(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("extends: nobody\n")
    with pytest.raises(RecipeError, match=r"mine\.yaml: extends 'nobody'"):
        loading.load([f"recipe={tmp_path / 'mine.yaml'}"])


def test_a_new_name_drops_the_keys_of_the_old_one() -> None:
    recipe = loading.load([QUICK, "model.name=mlp", "model.hidden=8"])
    assert recipe.model == config.MLP(hidden=8)  # neither width nor the latent_dim of quickstart's DCGAN
    assert loading.load([QUICK, "model.name=dcgan", "model.width=8"]).model.latent_dim == 64


def test_a_new_name_of_an_engine_or_optimizer_keeps_the_keys_that_it_has_too(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("extends: quickstart\nengine: {name: ddp, reduction: fast, tf32: true}\n"
                                        "optimizer: {D: {name: adam, lr: 3e-3, clip_norm: 2}}\n")
    mine = f"recipe={tmp_path / 'mine.yaml'}"
    before, after = loading.load([mine]), loading.load([mine, "engine.name=fsdp", "optimizer.D.name=rmsprop"])
    assert after.engine == replace(before.engine, name="fsdp") and after.engine.tf32
    assert after.optimizer["D"] == replace(before.optimizer["D"], name="rmsprop") and after.optimizer["D"].lr == 3e-3


def test_own_folder_of_recipes_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "quickstart.yaml").write_text("# My own quickstart, of a kind\nextends: toy_lecture\nseed: 99\n")
    monkeypatch.setenv("SCALEGAN_RECIPES", str(tmp_path))
    assert loading.load([QUICK]).seed == 99
    assert catalogue.available()["quickstart"] == "My own quickstart, of a kind"


def test_printed_config_is_the_recipe_from_anywhere(tmp_path: Path) -> None:
    """train.py run as a file from another directory, not installed: needs only the checkout and its dependencies."""
    done = subprocess.run([sys.executable, str(TRAIN), QUICK, "seed=3", "--print-config"], cwd=tmp_path,
                          env=environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert OmegaConf.create(done.stdout) == OmegaConf.create(loading.to_dict(loading.load([QUICK, "seed=3"])))
    (tmp_path / "printed.yaml").write_text(done.stdout)
    again = cli("train", "recipe=printed.yaml", "--print-config", cwd=tmp_path)
    assert again.stdout == done.stdout


def test_installed_folder_of_recipes_is_the_checkouts() -> None:
    assert (ROOT / "recipes") in catalogue.folders()


def test_a_runs_config_is_a_recipe(finished_run: Path) -> None:
    recipe = loading.load([f"recipe={finished_run / 'config.yaml'}"])
    assert recipe.run_dir == str(finished_run) and recipe.total_images == 2560
