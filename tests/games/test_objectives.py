"""Every game, objective and trick: other ranks, restarts and kills give the same bits as an uninterrupted run."""

import re
from pathlib import Path

import pytest
from harness import digest, launch, make_set, reports, samples, start, wait_until

POINTS = """
data: {backend: points, path: ring8, workers: 0, flip: false}
model: {name: mlp, hidden: 16, layers: 2, latent_dim: 4}
batch_size: 32
micro_batch_size: 16
lanes: 2
precision: fp32
total_images: 384
engine: {reduction: tree}
ema: {half_life_images: 100}
log: {every_images: 96, tensorboard: false}
"""
IMAGES = """
data: {path: "%s", resolution: 16, workers: 0, block_records: 8, window_blocks: 4}
model: {name: dcgan, width: 4, latent_dim: 8, norm_group: 16}
batch_size: 32
micro_batch_size: 16
lanes: 2
precision: fp32
total_images: 192
engine: {reduction: tree}
log: {every_images: 96, tensorboard: false}
"""
OWN_NETWORKS = """
data: {path: "%s", resolution: %d, labels: none, workers: 0, block_records: 8, window_blocks: 4}
batch_size: 32
micro_batch_size: 8
lanes: 4
precision: fp32
total_images: 192
engine: {reduction: tree}
log: {every_images: 96, tensorboard: false}
checkpoint: {every_images: 64}
snapshot: {every_images: 96, rows: 2, columns: 2}
"""
CRITIC = ["game.updates.D=3", "optimizer.D.name=rmsprop", "optimizer.G.name=rmsprop"]
TRICKS = "game.tricks."

# Overrides of each run, and a figure that its log must then contain.
ROWS = {
    "minimax": (["game.loss=minimax"], "G/fake"),
    "non_saturating": (["game.loss=non_saturating"], "G/fake"),
    "least_squares": (["game.loss=least_squares"], "G/fake"),
    "least_squares, Pearson": (["game.loss=least_squares", "game.a=-1", "game.b=1", "game.c=0"], "G/fake"),
    "wasserstein_clip": (["game.loss=wasserstein_clip", *CRITIC], "G/fake"),
    "wasserstein, clip 0.05": (["game.loss=wasserstein", "game.clip=0.05", *CRITIC], "G/fake"),
    "wgan_gp": (["game.loss=wgan_gp", "game.updates.D=3"], "D/gradient_penalty"),
    "hinge": (["game.loss=hinge"], "G/fake"),
    "ebgan": (["game.loss=ebgan"], "G/fake"),
    "ebgan_pt": (["game.loss=ebgan_pt"], "G/pull_away"),
    "relativistic": (["game.loss=relativistic", "game.penalties.r1.gamma=0.1"], "G/pair"),
    **{f"f_{name}": ([f"game.loss=f_{name}"], "G/fake") for name in ("kl", "reverse_kl", "js", "hellinger", "pearson")},
    **{f"b_{name}": ([f"game.loss=b_{name}"], "G/fake") for name in ("kl", "pearson")},
    "unrolled": (["game.name=unrolled", "game.steps=3"], "G/fake"),
    "feature matching": ([TRICKS + "feature_matching.weight=1"], "G/feature_matching"),
    "minibatch discrimination": ([TRICKS + "minibatch_discrimination.kernels=5"], "G/fake"),
    "historical averaging": ([TRICKS + "historical_averaging.weight=0.1"], "D/history"),
    "SAN": ([TRICKS + "san=true", "game.loss=hinge", "game.penalties.r1.gamma=0.1"], "D/direction"),
    "SAN, images": ([TRICKS + "san=true", "game.loss=hinge", "data.labels=class"], "D/direction"),
    "label smoothing": ([TRICKS + "label_smoothing=0.9"], "D/real"),
    "instance noise": ([TRICKS + "instance_noise={start: 0.5, end: 0, images: 300}"], "D/fake"),
    "two updates of G": (["game.updates.G=2"], "G/fake"),
    "adaptive updates": ([TRICKS + "adaptive_updates.ratio=0.7", "game.loss=minimax"], "G/fake"),
    "latent mixture": ([TRICKS + "latent_mixture.components=5"], "G/deviations"),
    "several at once": (["game.name=unrolled", "game.steps=2", "game.step_size=0.01", "game.loss=least_squares",
                         "game.penalties.gradient.weight=1",
                         TRICKS + "minibatch_discrimination.kernels=5", TRICKS + "feature_matching.weight=1",
                         TRICKS + "historical_averaging.weight=0.1", TRICKS + "label_smoothing=0.9",
                         TRICKS + "instance_noise=0.1", TRICKS + "adaptive_updates.ratio=2"], "G/history"),
    "InfoGAN": (["game.name=infogan", "game.categories=[4,3]", "game.continuous=2"], "GQ/continuous"),
    "InfoGAN, images": (["game.name=infogan", "game.categories=[4]", "game.continuous=0"], "GQ/categories"),
    "AAE": (["game.name=aae", "game.prior=swiss_roll", "game.hidden=16", "model.latent_dim=2"], "E/fake"),
    "AAE, images": (["game.name=aae", "game.hidden=16"], "AE/reconstruction"),
    "AVB": (["game.name=avb", "game.likelihood=gaussian", "game.adaptive_contrast=4"], "ELBO/kl"),
    "AVB, images": (["game.name=avb", "game.half_norm=true"], "T/posterior"),
    "AC-GAN, images": (["game.name=acgan", "data.labels=class"], "D/fake_class"),
    "MAD-GAN": (["game.name=madgan", "game.generators=3"], "D/fake"),
    "consensus": (["game.name=consensus", "game.gamma=1"], "GD/consensus"),
    "CGAN, networks of its own, images": (["game.name=cgan", "data.labels=class", "optimizer.default.name=sgd",
                                           "optimizer.default.momentum={start: 0.5, end: 0.7, images: 150}"], "G/fake"),
    "virtual batch norm, images": (["model.virtual_batch=8"], "G/fake"),
    "ebgan_pt, images": (["game.loss=ebgan_pt"], "G/pull_away"),
}


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS)
def test_two_ranks_and_a_restart_change_no_bit(row: str, tiny_set: Path, tmp_path: Path) -> None:
    settings, figure = ROWS[row]
    recipe = tmp_path / "recipe.yaml"
    text = IMAGES % tiny_set if row.endswith("images") else POINTS
    recipe.write_text(re.sub("model: .*", "", text) if "networks of its own" in row else text)
    command = [f"recipe={recipe}", *settings]
    launch(1, *command, f"run_dir={tmp_path / 'straight'}")
    launch(2, *command, f"run_dir={tmp_path / 'moved'}", "total_images=96")
    assert digest(tmp_path / "moved") != digest(tmp_path / "straight")
    launch(2, *command, f"run_dir={tmp_path / 'moved'}")
    assert digest(tmp_path / "moved") == digest(tmp_path / "straight")
    shown = reports(tmp_path / "straight")
    assert shown == reports(tmp_path / "moved")
    assert all(f"loss/{figure}" in report for report in shown)


# Games with networks of their own: resolution, overrides, figures that every report contains.
GAMES = {
    "BiGAN": (16, ["game={name: bigan, hidden: 12, latent_dim: 6, norm_group: 8}"], ("EG/encoder", "EG/generator")),
    "BiGAN with a stochastic encoder": (
        16, ["game={name: bigan, hidden: 12, latent_dim: 6, norm_group: 8, encoder: stochastic, latent: normal}"],
        ("EG/encoder", "EG/generator")),
    "ALI": (32, ["game={name: ali, width: 2, latent_dim: 6, norm_group: 8}"], ("EG/encoder", "EG/generator")),
    "ALI with ALICE's cycle": (
        16, ["game={name: ali, networks: dense, hidden: 12, latent_dim: 6, norm_group: 8, cycle: 1}"], ("EG/cycle",)),
    "LAPGAN": (16, ["game={name: lapgan, levels: 2, width: 4, base_hidden: 20}"], ("D0/real", "G1/fake")),
    "CoGAN": (28, ["game={name: cogan, width: 16, norm_group: 8, second: edges}",
                   "streams.second={path: 'DATA', resolution: 28, workers: 0, block_records: 8, window_blocks: 4}"],
              ("D/real2", "G/fake2")),
    "SimGAN": (16, ["game={name: simgan, width: 4, blocks: 1, pool: 40, pretrain_refiner_images: 32, "
                    "pretrain_discriminator_images: 32}",
                    "streams.real={path: 'DATA', resolution: 16, workers: 0, block_records: 8, window_blocks: 4}"],
               ("R/self_regularisation", "D/accuracy")),
    "adversarial flow": (
        16, ["game={name: adversarial_flow, fresh_batch: [D, G], "
             "penalties: {r1: {method: finite_difference, share: 0.5, noise: augmented}}}", "data.labels=class",
             "model={name: gat, patch: 4, depth: 2, width: 16, heads: 2, outputs: 1, label_dim: 8}"],
        ("D/centring", "D/r1", "G/transport")),
    "PixelDA": (16, ["game={name: pixelda, width: 4, blocks: 1, norm_group: 8}", "data.labels=class",
                     "streams.target={path: 'DATA', resolution: 16, workers: 0, block_records: 8, window_blocks: 4}"],
                ("DT/adapted_class", "G/fake")),
}


@pytest.mark.slow
@pytest.mark.parametrize("row", GAMES)
def test_1_2_or_4_ranks_and_a_kill_change_no_bit(row: str, tiny_set: Path, tmp_path: Path) -> None:
    resolution, settings, figures = GAMES[row]
    recipe = tmp_path / "recipe.yaml"
    data = tiny_set if resolution == 16 else make_set(tmp_path / "set", size=resolution)
    recipe.write_text(OWN_NETWORKS % (data, resolution))
    settings = [setting.replace("DATA", str(data)) for setting in settings]
    alone, two, killed = ([f"recipe={recipe}", *settings, f"run_dir={tmp_path / name}"] for name in
                          ("alone", "two", "killed"))
    launch(1, *alone)
    launch(2, *two)
    process = start(*killed)
    wait_until(lambda: list((tmp_path / "killed").glob("checkpoints/*/COMPLETE")), "there is a checkpoint")
    process.kill()
    process.wait()
    launch(4, *killed)
    shown = reports(tmp_path / "alone")
    for name in ("two", "killed"):
        assert digest(tmp_path / name) == digest(tmp_path / "alone"), name
        assert reports(tmp_path / name) == shown and samples(tmp_path / name) == samples(tmp_path / "alone")
    assert all(f"loss/{figure}" in report for report in shown for figure in figures)
