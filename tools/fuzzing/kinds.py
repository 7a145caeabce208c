"""The kinds of files that are damaged, and the commands that read them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tools.fuzzing import contents, originals
from tools.fuzzing.contents import Damage

_TRAIN = "train recipe=recipe.yaml run_dir=run total_images=80"
_FRESH = "train recipe=recipe.yaml run_dir=fresh total_images=16"
_LAST = "run/checkpoints/*64"
_WEIGHTS = (f"inspect {_LAST}", "inspect run", "inspect run --verify", "sample run --seeds 0-1",
            f"sample {_LAST} --seeds 0-1", "export run --out x.safetensors", _TRAIN)
_CONVERT = "--family dcgan --out x.safetensors"


@dataclass(frozen=True)
class Kind:
    """Files of one kind.

    Args:
        original: makes a folder with a good one.
        files: patterns of those to damage, of which one is.
        commands: command lines that read it, run in that folder; a word with a * names the file that it matches.
        own: damage that knows the format.
        sealed: whether COMPLETE beside it has its digest, which is then made right again in two of three cases.
        names: whether it may also get another name.
    """

    original: Callable[[originals.Scalegan], None]
    files: tuple[str, ...]
    commands: tuple[str, ...]
    own: Damage | None = None
    sealed: bool = False
    names: bool = False


def _prepare(source: str, *options: str) -> tuple[str, ...]:
    line = " ".join(("prepare", source, "made", "--resolution 16 --workers 1 --max-rejected 0.5", *options))
    return line, f"{line} --dry-run"


def _folder(path: str) -> tuple[str, ...]:
    return (f"{_FRESH} data.path={path} data.backend=folder data.labels=none", f"images {path}")


_PREPARE = "prepare photos data --resolution 16 --shard-records 8 --workers 1"
_CHECK = ("prepare data --verify", _FRESH, "images data")
_SUBMIT = "submit recipe=recipe.yaml profile=profile.yaml --dry-run"
_STATES = ("status run", "status --json run", "stop run --timeout 1")

KINDS: dict[str, Kind] = {
    "COMPLETE": Kind(originals.run, (f"{_LAST}/COMPLETE",), _WEIGHTS, contents.json_file),
    "state.json": Kind(originals.run, (f"{_LAST}/state.json",), (*_WEIGHTS, "status run"), contents.json_file,
                       sealed=True),
    "shards": Kind(originals.run, (f"{_LAST}/*.safetensors",), _WEIGHTS, contents.safetensors_file, sealed=True),
    "metrics.jsonl": Kind(originals.run, ("run/metrics.jsonl",), ("status run", "compare run", _TRAIN),
                          contents.json_lines),
    "evaluations.jsonl": Kind(originals.run, ("run/evaluations.jsonl",), ("compare run", "compare run run", _TRAIN),
                              contents.json_lines),
    "history.jsonl": Kind(originals.run, ("run/job/history.jsonl",), (*_STATES, "compare run", "outcome run"),
                          contents.json_lines),
    "rollbacks.json": Kind(originals.run, ("run/rollbacks.json",), (_TRAIN, "status run", "compare run"),
                           contents.json_file),
    "lease": Kind(originals.run, ("run/.lease", "run/.lock"), (*_STATES, _TRAIN), contents.text_file),
    "job.json": Kind(originals.run, ("run/job/job.json",), (*_STATES, "compare run", "claim run"), contents.json_file),
    "sample grid": Kind(originals.run, ("run/samples/*.png",), ("compare run",), contents.picture_file),
    "config.yaml": Kind(originals.run, ("run/config.yaml",),
                        ("status run", "compare run", _TRAIN, "load recipe=run/config.yaml"), contents.yaml_file),
    "power averages": Kind(originals.run, ("run/averages/*.safetensors",),
                           ("export run --ema-sigma-rel 0.1 --out x.safetensors", _TRAIN), contents.safetensors_file),
    "export": Kind(originals.run, ("export.safetensors",),
                   ("sample export.safetensors --seeds 0-1", "interpolate export.safetensors --steps 1",
                    "load recipe=export.safetensors", "convert export.safetensors --family dcgan --out x.safetensors"),
                   contents.safetensors_file),
    "recipe": Kind(originals.recipes, ("recipe.yaml", "base.yaml", "middle.yaml", "other.yaml"),
                   ("load recipe=recipe.yaml", "load recipe=recipe.yaml seed=3", "recipes", _SUBMIT),
                   contents.yaml_file),
    "profile": Kind(originals.recipes, ("profile.yaml",), (_SUBMIT, f"{_SUBMIT} profile.account=me"),
                    contents.yaml_file),
    "job's profile": Kind(originals.run, ("run/job/profile.yaml",), ("outcome run",), contents.yaml_file),
    "manifest": Kind(originals.run, ("data/manifest.json",), (*_CHECK, _PREPARE), contents.json_file),
    "index": Kind(originals.run, ("data/index.safetensors",), _CHECK, contents.safetensors_file),
    "record shard": Kind(originals.run, ("data/*.tar",), _CHECK, contents.tar_file),
    "beton": Kind(originals.beton, ("data/data.beton",), _CHECK),
    "journal": Kind(originals.begun, ("data/.prepare/plan.json",), (_PREPARE,), contents.json_file),
    "shard's outcome": Kind(originals.begun, ("data/.prepare/*.safetensors",), (_PREPARE,), contents.safetensors_file),
    "prepare.json": Kind(originals.shards, ("data/prepare.json",),
                         (f"{_PREPARE} --encoding png", "prepare data --verify"), contents.json_file),
    "picture": Kind(originals.photos, ("photos/*/*",), (*_prepare("photos"), *_folder("photos")),
                    contents.picture_file, names=True),
    "dataset.json": Kind(originals.zips, ("stylegan/dataset.json",), (*_prepare("stylegan"), *_folder("stylegan")),
                         contents.json_file),
    "zip": Kind(originals.zips, ("stylegan.zip",), (*_prepare("stylegan.zip"), *_folder("stylegan.zip")),
                contents.zip_file),
    "zip of classes": Kind(originals.zips, ("classes.zip",), (*_prepare("classes.zip"), *_folder("classes.zip")),
                           contents.zip_file),
    "CIFAR-10 batch": Kind(originals.cifar10, ("cifar-10-batches-py/*",),
                           (*_prepare("cifar-10-batches-py"), *_folder("cifar-10-batches-py")), contents.pickle_file),
    "CIFAR-10 tar": Kind(originals.cifar10, ("cifar-10-python.tar.gz",), _prepare("cifar-10-python.tar.gz"),
                         contents.tar_file),
    "CelebA's texts": Kind(originals.celeba, ("celeba/*.txt",),
                           (*_prepare("celeba"), *_prepare("celeba", "--labels identity"),
                            *_prepare("celeba", "--split val")), contents.text_file),
    "LMDB": Kind(originals.lsun, ("bedroom_train_lmdb/data.mdb",), _prepare("bedroom_train_lmdb")),
    "foreign .pt": Kind(originals.foreign, ("generator.pt",), (f"convert generator.pt {_CONVERT} --key netG",),
                        contents.pickle_file),
    "foreign .pth": Kind(originals.foreign, ("old.pth",), (f"convert old.pth {_CONVERT}",), contents.pickle_file),
    "foreign .pkl": Kind(originals.foreign, ("generator.pkl",), (f"convert generator.pkl {_CONVERT}",),
                         contents.pickle_file),
    "foreign .safetensors": Kind(originals.foreign, ("generator.safetensors",),
                                 (f"convert generator.safetensors {_CONVERT}",), contents.safetensors_file),
    "cached features": Kind(originals.features, ("cache/features/*.safetensors",),
                            ("evaluate data --data data --metrics fid,kid --kid-subset-size 8",),
                            contents.safetensors_file),
}


def words_of(command: str) -> list[str]:
    """A command line as words, with a pattern replaced by the file that it matches."""
    return [str(next(iter(sorted(Path().glob(word))), word)) if "*" in word else word for word in command.split()]
