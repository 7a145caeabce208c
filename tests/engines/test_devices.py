"""Updates leave nothing on the CPU and ask the device nothing, for which a GPU's host would wait."""

import json
import subprocess
import sys

import pytest
from harness import ROOT, environment

from tools.gpu_checking.runs import FAMILIES, NARROW, OTHERS

CONFIGURATIONS = {
    **{name: [*keys, *NARROW[name], "data.path=none"] for name, keys in FAMILIES.items()},
    "clipped weights and RMSprop": [*OTHERS["clipped_rmsprop"], "model.width=4", "data.path=none"],
    "autoencoder and pull-away": [*OTHERS["autoencoder"], "model.width=4", "data.path=none"],
    "infogan": [*OTHERS["infogan"], "model.width=4", "data.path=none"],
    "bigan": [*OTHERS["bigan"], "game.hidden=8", "data.path=none"],
    "ali": ["recipe=ali_cifar10", "game.width=2", "data.path=none"],
    "pix2pix": ["recipe=pix2pix_edges", "model.width=2", "model.d_width=2", "data.path=none"],
    "colorization": ["recipe=colorization_celeba", "model.width=2", "model.d_width=2", "data.path=none"],
    "cyclegan": ["recipe=cyclegan_faces", "model.width=2", "model.d_width=2", "data.path=none", "streams.B.path=none"],
    "gan3d": ["recipe=gan3d_glyphs", "game.width=2", "data.path=none"],
    **{name: [f"recipe={name}_mnist", "model.width=4", "data.path=none"]
       for name in ("deligan", "madgan", "consensus")},
    "points": OTHERS["points"],
    "activations computed again": [*OTHERS["recomputed"], *NARROW["stylegan2"], "data.path=none"],
    "gradients summed in a tree": [*OTHERS["tree"], "model.width=4", "data.path=none"],
}


@pytest.fixture(scope="module")
def problems() -> dict[str, str | None]:
    program = ROOT / "tests" / "engines" / "device_without_data.py"
    done = subprocess.run([sys.executable, str(program), json.dumps(CONFIGURATIONS)], capture_output=True, text=True,
                          env=environment(PYTHONPATH=str(ROOT)), timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_updates_stay_on_their_device(name: str, problems: dict[str, str | None]) -> None:
    assert problems[name] is None, problems[name]
