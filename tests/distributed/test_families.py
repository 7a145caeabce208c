"""Every family, conditional or not, on any ranks and after a resume: with tree reduction, the same bits."""

from pathlib import Path

import pytest
from harness import digest, launch, make_set, reports, start, wait_until

pytestmark = pytest.mark.slow

TINY = """# {family} in small
extends: [_base/{base}]
data: {{path: "{data}", resolution: 32, labels: {labels}, workers: 0, block_records: 8, window_blocks: 4}}
model: {{{model}}}
batch_size: 16
micro_batch_size: 4
lanes: 4
total_images: {total}
engine: {{reduction: tree}}
log: {{every_images: 48, tensorboard: false}}
checkpoint: {{every_images: 80}}
snapshot: {{every_images: 0}}
"""
FAMILIES = {
    "stylegan2": ("stylegan2_f", "channel_base: 256, channel_max: 16, latent_dim: 16, w_dim: 16, mapping_layers: 2, "
                                 "mbstd_group: 4"),
    "r3gan": ("r3gan", "width: 16, cardinality: 4, blocks: 1, latent_dim: 8"),
    "biggan": ("biggan", "width: 4, latent_dim: 8, norm_group: 4"),
    "biggan hierarchical": ("biggan", "width: 4, latent_dim: 16, shared_dim: 8, hierarchical: true, attention: [16], "
                                      "norm_group: 4"),
    "gat": ("gat", "patch: 8, depth: 2, width: 16, heads: 2, outputs: 2, latent_dim: 8, label_dim: 8"),
    "biggan_deep": ("biggan_deep", "width: 4, latent_dim: 8, shared_dim: 8, attention: [16], norm_group: 4"),
}
CASES = [(family, labels) for family in FAMILIES for labels in ("none", "class")
         if not (family in ("biggan hierarchical", "biggan_deep") and labels == "none")]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_set(tmp_path_factory.mktemp("set") / "set", size=32)


def write_recipe(folder: Path, family: str, labels: str, data: Path, total: int = 160) -> Path:
    base, model = FAMILIES[family]
    path = folder / "tiny.yaml"
    path.write_text(TINY.format(family=family, base=base, model=model, labels=labels, data=data, total=total))
    return path


@pytest.mark.parametrize("family, labels", CASES)
def test_ranks_and_a_restart_change_no_bit(family: str, labels: str, images: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, family, labels, images)
    launch(1, f"recipe={recipe}", f"run_dir={tmp_path / 'alone'}", "precision=fp32")
    launch(2, f"recipe={recipe}", f"run_dir={tmp_path / 'two'}", "precision=fp32")
    moved = tmp_path / "moved"
    launch(4, f"recipe={recipe}", f"run_dir={moved}", "precision=fp32", "total_images=80")
    launch(1, f"recipe={recipe}", f"run_dir={moved}", "precision=fp32")
    assert digest(tmp_path / "two") == digest(tmp_path / "alone")
    assert digest(moved) == digest(tmp_path / "alone")
    assert reports(moved)[-1] == reports(tmp_path / "alone")[-1]


@pytest.mark.parametrize("family", ["stylegan2", "biggan", "r3gan", "gat"])
def test_a_killed_run_ends_with_the_same_bits(family: str, images: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, family, "class", images, total=240)
    launch(1, f"recipe={recipe}", f"run_dir={tmp_path / 'straight'}", "precision=bf16")
    killed = tmp_path / "killed"
    process = start(f"recipe={recipe}", f"run_dir={killed}", "precision=bf16")
    wait_until(lambda: list(killed.glob("checkpoints/*/COMPLETE")), "there is a checkpoint")
    process.kill()
    process.wait()
    launch(1, f"recipe={recipe}", f"run_dir={killed}", "precision=bf16")
    assert digest(killed) == digest(tmp_path / "straight")
