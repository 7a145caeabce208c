"""The wheel: whole, the same from the checkout and from the sdist, and at work without the checkout.

It is installed into a fresh environment of each Python from 3.11 on that is at hand. Dependencies come from where they
are already: the environment of these tests for their own Python, the interpreter's own site for any other. A Python
without torch is skipped, with the reason, so a run of the suite covers one Python at least, and says which.
"""

import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest
from harness import ROOT, environment

RUNNING = f"{sys.version_info.major}.{sys.version_info.minor}"
PYTHONS = sorted({"3.11", "3.12", "3.13", "3.14", RUNNING})
NEEDED = ("torch", "torchvision", "accelerate", "webdataset", "safetensors", "omegaconf", "pydantic", "simplejpeg",
          "tensorboard", "lmdb", "isal", "plotly", "mlxtend", "submitit")
BUILD = "import setuptools.build_meta as backend; backend.build_{kind}({out!r})"
SITE = "import sysconfig; print(sysconfig.get_path('purelib'))"
CAN_IMPORT = "import importlib.util, sys; print([m for m in sys.argv[1:] if importlib.util.find_spec(m) is None])"
LOAD = """import sys, scalegan, torch
generator = scalegan.load(sys.argv[1])
images = generator(torch.randn(2, generator.latent_dim), torch.tensor([3, 7]))
print(scalegan.__file__, *images.shape)"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout, as building leaves files behind; what earlier builds left in it is not copied."""
    left_out = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "runs", "shared")
    return shutil.copytree(ROOT, tmp_path_factory.mktemp("build") / "checkout", ignore=left_out)


@pytest.fixture(scope="module")
def sdist(source: Path) -> Path:
    return _build("sdist", source, source.parent / "dist")


@pytest.fixture(scope="module")
def wheel(source: Path) -> Path:
    return _build("wheel", source, source.parent / "dist")


def _build(kind: str, source: Path, out: Path) -> Path:
    """Builds with the setuptools of this environment, as `pip wheel --no-build-isolation` does."""
    _run([sys.executable, "-c", BUILD.format(kind=kind, out=str(out))], source)
    found, = out.glob({"sdist": "*.tar.gz", "wheel": "*.whl"}[kind])
    return found


def _run(command: list[object], folder: Path) -> str:
    """Runs a command in `folder`, where nothing but what is installed can be imported; returns what it prints."""
    hidden = ("PYTHONPATH", "PYTHONHOME", "PYTHONSAFEPATH", "VIRTUAL_ENV")
    done = subprocess.run([*map(str, command)], cwd=folder, capture_output=True, text=True, timeout=300,
                          env={name: value for name, value in environment().items() if name not in hidden})
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _contents(wheel: Path) -> Mapping[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        assert len(archive.namelist()) == len(set(archive.namelist()))
        return {name: archive.read(name) for name in archive.namelist()}


def _metadata(wheel: Path) -> Message:
    text, = (text for name, text in _contents(wheel).items() if name.endswith(".dist-info/METADATA"))
    return Parser().parsestr(text.decode())


def test_the_wheel_holds_every_file_of_the_package_and_no_other(source: Path, wheel: Path) -> None:
    folders = {"scalegan": "scalegan", "scalegan/recipes": "recipes", "scalegan/slurm_profiles": "slurm/profiles"}
    expected = {f"{inside}/{path.relative_to(source / folder)}": path.read_bytes()
                for inside, folder in folders.items() for path in (source / folder).rglob("*") if path.is_file()}
    held = {name: text for name, text in _contents(wheel).items() if ".dist-info/" not in name}
    assert sorted(held) == sorted(expected)
    assert held == expected
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in _contents(wheel))


def test_the_sdist_makes_the_same_wheel(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    unpacked, = tmp_path.iterdir()
    assert _contents(_build("wheel", unpacked, tmp_path / "dist")) == _contents(wheel)


def test_the_sdist_holds_the_tests_with_their_data_and_the_documentation(sdist: Path, source: Path) -> None:
    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    expected = {str(path.relative_to(source)) for folder in ("docs", "recipes", "scalegan", "slurm", "tests", "tools")
                for path in (source / folder).rglob("*") if path.is_file()}
    assert expected <= held
    assert {"Makefile", "constraints.txt", "CHANGELOG.md", "LICENSE"} <= held


def _interpreter(version: str) -> str:
    """The path of an interpreter of this version, with its dependencies; skips the test if there is none."""
    python = sys.executable if version == RUNNING else shutil.which(f"python{version}")
    if python is None:
        pytest.skip(f"Python {version} is not on this machine")
    found = subprocess.run([python, "-c", CAN_IMPORT, *NEEDED], capture_output=True, text=True, timeout=60)
    if found.returncode:    # a launcher of pyenv's stands there for every version that any project uses
        pytest.skip(f"{python} does not start")
    if found.stdout.strip() != "[]":
        pytest.skip(f"Python {version} lacks {found.stdout.strip()}")
    return python


def _install(wheel: Path, python: str, folder: Path) -> Path:
    """Makes an environment that sees the dependencies of `python`, and installs the wheel; returns its bin folder."""
    dependencies = subprocess.run([python, "-c", SITE], capture_output=True, text=True, check=True).stdout.strip()
    _run([python, "-m", "venv", "--without-pip", folder], folder.parent)
    site, = (folder / "lib").glob("python*/site-packages")
    (site / "dependencies.pth").write_text(f"{dependencies}\n")     # no .pth file in there is read: no editable install
    _run([sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install", "--quiet", "--no-deps",
          "--no-index", "--ignore-installed", wheel], folder.parent)
    return folder / "bin"


@pytest.mark.slow
@pytest.mark.parametrize("version", PYTHONS, ids=lambda version: f"on Python {version}")
def test_the_installed_wheel_works_without_the_checkout(version: str, wheel: Path, tmp_path: Path) -> None:
    installed = _install(wheel, _interpreter(version), tmp_path / "environment")
    scalegan = installed / "scalegan"
    work = tmp_path / "elsewhere"
    work.mkdir()
    assert f"Python {version}" in _run([scalegan, "--version"], work)
    assert "scalegan COMMAND" in _run([scalegan, "--help"], work)
    listed = {line.split()[0] for line in _run([scalegan, "recipes"], work).splitlines()}
    assert listed == {"auto", *(path.stem for path in (ROOT / "recipes").glob("*.yaml"))}
    script = _run([scalegan, "submit", "recipe=lsun_bedroom", "profile=gpu_cluster", "nodes=2", "gpus_per_node=4",
                   "data.path=/data/bedroom", "run_dir=/runs/bedroom", "--dry-run"], work)
    assert "#SBATCH --nodes=2" in script
    _run([scalegan, "train", "recipe=quickstart", "total_images=640", "run_dir=digits"], work)
    assert (work / "digits" / "checkpoints" / "000000000640" / "COMPLETE").exists()
    _run([scalegan, "export", "digits", "--out", "digits.safetensors"], work)
    package, *shape = _run([installed / "python", "-c", LOAD, "digits.safetensors"], work).split()
    assert Path(package).is_relative_to(tmp_path)
    assert shape == ["2", "1", "32", "32"]


def test_readme_metadata_and_ci_name_the_same_versions(wheel: Path) -> None:
    """README is where the numbers are; CI tests with what constraints.txt pins."""
    said = re.search(r"Python (3\.\d+) to (3\.\d+) and torch (\d\.\d+) to (\d\.\d+)", (ROOT / "README.md").read_text())
    assert said, "README does not say which versions of Python and torch are supported"
    first, last, oldest, newest = said.groups()
    about = _metadata(wheel)
    named = re.findall(r"Programming Language :: Python :: (3\.\d+)", "\n".join(about.get_all("Classifier")))
    minors = [int(version.partition(".")[2]) for version in named]
    assert (named[0], named[-1]) == (first, last)
    assert minors == list(range(minors[0], minors[-1] + 1))
    assert about["Requires-Python"] == f">={first}"
    assert f"torch>={oldest}" in about.get_all("Requires-Dist")
    assert f"torch=={newest}." in (ROOT / "constraints.txt").read_text()
    assert f'target-version = "py{first.replace(".", "")}"' in (ROOT / "pyproject.toml").read_text()
    for file in ("CONTRIBUTING.md", "Makefile"):
        assert f"Python {first} or newer" in (ROOT / file).read_text(), file
