"""Half precision trains like full precision: it changes a run's reports by less than another seed does."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from harness import launch

from scalegan import load

UPDATES, SEEDS = 200, range(6)     # with three seeds, half of all choices lie too close together by chance
RECIPE = f"""extends: [_base/dcgan]
data: {{path: "embedded:mnist", resolution: 32, labels: none, flip: false, workers: 0}}
model: {{width: 16, norm_group: 16}}
batch_size: 16
lanes: 4
total_images: {16 * UPDATES}
ema: {{half_life_images: 500, ramp_up: null}}
log: {{every_images: 1600, tensorboard: false}}
"""


def end_of(run: Path, precision: str, seed: int) -> dict[str, float]:
    """The mean report of the last 100 updates, and statistics of the averaged generator's samples."""
    recipe = run.parent / "recipe.yaml"
    recipe.write_text(RECIPE)
    launch(1, f"recipe={recipe}", f"run_dir={run}", f"precision={precision}", f"seed={seed}")
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert len(rows) == UPDATES // 100
    figures = {name: value for name, value in rows[-1].items() if name.startswith(("loss/", "logit_gap/"))}
    generator = load(run)
    z = torch.rand(256, generator.latent_dim, generator=torch.Generator().manual_seed(9)) * 2 - 1
    with torch.no_grad():
        samples = generator(z).float().flatten(1)
    return figures | {"brightness": samples.mean().item(), "contrast": samples.std(1).mean().item(),
                      "variety": samples.std(0).mean().item()}


@pytest.mark.slow
def test_200_updates_in_bf16_are_within_the_spread_of_seeds(tmp_path: Path) -> None:
    """The mean over the seeds differs by at most the range of the fp32 seeds, largest minus smallest."""
    full, half = ([end_of(tmp_path / f"{precision}{seed}", precision, seed) for seed in SEEDS]
                  for precision in ("fp32", "bf16"))
    assert {"logit_gap/D", "loss/G/fake", "brightness"} < full[0].keys() == half[0].keys()
    for name in full[0]:
        in_full, in_half = (np.array([run[name] for run in runs]) for runs in (full, half))
        assert np.isfinite([in_full, in_half]).all(), name
        assert abs(in_half.mean() - in_full.mean()) <= np.ptp(in_full), f"{name}: {in_half} in bf16, {in_full} in fp32"
        assert not np.array_equal(in_half, in_full), name
