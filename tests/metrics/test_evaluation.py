"""Whole evaluations: the same on any number of ranks and with any batch size, with exact numbers and clear warnings."""

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import harness
import numpy as np
import pytest
import torch
from metrics_made import write_images, write_inception, write_stub
from PIL import Image

from scalegan.engines.ranks import Ranks
from scalegan.errors import UserError
from scalegan.metrics import cache, evaluation, extractors, features, results
from scalegan.metrics.evaluation import Settings
from scalegan.metrics.images import StoredImages, open_images

CPU = torch.device("cpu")
ALL = ("fid", "kid", "prc", "prdc", "ms_ssim", "class_fid")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCALEGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SCALEGAN_WEIGHTS", raising=False)


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two folders of 16 px in four classes, and the stub extractor."""
    root = tmp_path_factory.mktemp("sets")
    return {"a": write_images(root / "a", 61, classes=4), "b": write_images(root / "b", 70, first=1000, classes=4),
            "stub": write_stub(root / "stub.pt")}


def evaluated(ranks: Ranks, a: str, b: str, stub: str, settings: Settings, root: str) -> dict:
    import os

    os.environ["SCALEGAN_CACHE"] = root
    extractor = extractors.load(stub, None, None, CPU)
    return evaluation.evaluate(open_images(a), open_images(b), extractor, settings, ranks, show=False)


def of_folders(sets: dict[str, Path], tmp_path: Path, settings: Settings, world: int = 1) -> dict:
    given = [str(sets[name]) for name in ("a", "b", "stub")]
    found = harness.spawn(world, evaluated, *given, settings, str(tmp_path / f"cache{world}-{settings.batch_size}"))
    assert all(one == found[0] for one in found)
    return found[0]


@pytest.mark.slow
def test_figures_do_not_depend_on_ranks_or_batch(sets: dict[str, Path], tmp_path: Path) -> None:
    expected = of_folders(sets, tmp_path, Settings(ALL, batch_size=16))
    assert expected["num_samples"] == 61 and expected["data"]["num_images"] == 70
    assert set(expected["by_class"]) == {f"class{i}" for i in range(4)}
    for world, batch in ((2, 16), (4, 7), (4, 64)):     # in the last, three ranks have nothing to do
        found = of_folders(sets, tmp_path, Settings(ALL, batch_size=batch), world)
        assert found["num_samples"] == 61
        assert found["metrics"] == {name: pytest.approx(value, rel=1e-6, abs=1e-9)
                                    for name, value in expected["metrics"].items()}


def samples_evaluated(ranks: Ranks, run: str, data: str, stub: str, batch_size: int, root: str) -> dict:
    import os

    from scalegan.checkpoints import exports
    from scalegan.metrics.generators import samples_of

    os.environ["SCALEGAN_CACHE"] = root
    reals = StoredImages(data)
    samples, _ = samples_of(exports.load(run), 53, reals)
    settings = Settings(("fid", "kid", "prdc"), 53, batch_size=batch_size)
    return evaluation.evaluate(samples, reals, extractors.load(stub, None, None, CPU), settings, ranks, show=False)


@pytest.mark.slow
def test_a_generators_figures_do_not_depend_on_ranks_or_batch(finished_run: Path, tiny_set: Path, tmp_path: Path,
                                                               sets: dict[str, Path]) -> None:
    results = [harness.spawn(world, samples_evaluated, str(finished_run), str(tiny_set), str(sets["stub"]), batch,
                             str(tmp_path / f"{world}-{batch}"))[0] for world, batch in ((1, 16), (2, 16), (4, 5))]
    for found in results[1:]:
        assert found["num_samples"] == 53
        assert found["metrics"] == {name: pytest.approx(value, rel=1e-6, abs=1e-9)
                                    for name, value in results[0]["metrics"].items()}


def test_moments_are_those_of_exactly_the_asked_images(sets: dict[str, Path]) -> None:
    """Against the direct computation: all features at once, NumPy's mean and covariance."""
    source, extractor = open_images(str(sets["a"])), extractors.load(str(sets["stub"]), None, None, CPU)
    numbers = features.chosen(61, 37, "samples")
    assert len(numbers) == len(set(numbers.tolist())) == 37
    found = features.collect(source, numbers, extractor, Ranks(0, 1, CPU), 8, keep=True)
    batch = torch.from_numpy(np.stack([source.read(int(n)) for n in numbers])).permute(0, 3, 1, 2)
    expected = extractor(batch).vectors
    np.testing.assert_allclose(found.vectors, expected, atol=1e-6)
    np.testing.assert_allclose(found.moments.covariance, np.cov(expected.double().T), atol=1e-8)


def test_a_set_above_the_budget_keeps_a_random_part(sets: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "SAMPLE_BUDGET", 20)
    extractor, settings = extractors.load(str(sets["stub"]), None, None, CPU), Settings(("fid", "kid"), bootstrap=2)
    a, b = (open_images(str(sets[name])) for name in ("a", "b"))
    found = evaluation.evaluate(a, b, extractor, settings, Ranks(0, 1, CPU), show=False)
    assert any("use 20 of the 61 samples" in line for line in found["warnings"])
    assert found["num_samples"] == 61 and set(found["standard_errors"]) == {"fd", "kid"}


def test_real_features_are_kept_and_never_taken_for_others(sets: dict[str, Path], monkeypatch: pytest.MonkeyPatch,
                                                           tmp_path: Path) -> None:
    extractor, a, b = extractors.load(str(sets["stub"]), None, None, CPU), *(
        open_images(str(sets[name])) for name in ("a", "b"))
    ranks, settings = Ranks(0, 1, CPU), Settings(("fid", "kid"))
    first = evaluation.evaluate(a, b, extractor, settings, ranks, show=False)
    reads = []
    monkeypatch.setattr(b, "read", lambda number: reads.append(number))
    assert evaluation.evaluate(a, b, extractor, settings, ranks, show=False)["metrics"] == first["metrics"]
    assert reads == []
    paths = {cache.path_of(content, extractor, count) for content in (a.content, b.content) for count in (61, 70)}
    assert len(paths) == 4
    next((tmp_path / "cache" / "features").glob("*.safetensors")).write_bytes(b"damaged")
    monkeypatch.undo()
    assert cache.read(cache.path_of(b.content, extractor, 70), True) is None


@pytest.mark.parametrize(("changed", "words"), [
    ({"extractor": {"name": "EffLite0", "sha256": "1" * 64}}, "extractors differ"),
    ({"extractor": {"name": "stub", "sha256": "2" * 64}}, "extractors differ"),
    ({"resize": "clean"}, "resizes differ"),
    ({"data": {"path": "b", "content": "other", "num_images": 10}}, "the data differ"),
    ({"data": {"path": "a", "content": "c", "num_images": 9}}, "numbers of real images differ"),
    ({"num_samples": 100}, "numbers of samples differ"),
    ({"constants": {"kid": "other"}}, "constants of kid differ"),
    ({"metrics": {"fd": 3.0}}, None),
], ids=["extractor", "weights", "resize", "data", "real images", "samples", "constants", "nothing but the figures"])
def test_what_must_not_be_compared(changed: dict, words: str | None) -> None:
    one = {"metrics": {"fd": 2.0}, "extractor": {"name": "stub", "sha256": "1" * 64}, "resize": "own",
           "num_samples": 50, "data": {"path": "a", "content": "c", "num_images": 10}, "constants": {"kid": "these"}}
    reason = results.why_not_comparable(one, {**one, **changed})
    assert reason is None if words is None else words in reason


def test_unreadable_images_are_listed_and_counted(sets: dict[str, Path], tmp_path: Path) -> None:
    folder = write_images(tmp_path / "a", 30)
    (folder / "00003.png").write_bytes(b"no picture")
    (folder / "00007.png").write_bytes((folder / "00008.png").read_bytes()[:60])
    extractor = extractors.load(str(sets["stub"]), None, None, CPU)
    settings = Settings(("fid", "ms_ssim"), batch_size=1)
    found = evaluation.evaluate(open_images(str(folder)), open_images(str(write_images(tmp_path / "b", 20))), extractor,
                                settings, Ranks(0, 1, CPU), show=False)
    assert found["num_samples"] == 28
    assert found["unreadable"]["samples"]["count"] == 2
    assert [line.split(":")[0] for line in found["unreadable"]["samples"]["files"]] == ["00003.png", "00007.png"]
    assert "2 unreadable images of the samples left out" in found["warnings"]


def _grow(root: str, stub: str) -> None:
    """Peak memory after 500, 2,000 and 50,000 images; runs in its own process."""
    import resource

    images = open_images(root)
    pixels = images.read(0)
    images.read = lambda number: pixels
    extractor = extractors.load(stub, None, None, CPU)
    peaks = []
    for count in (500, 2000, 50_000):
        features.collect(images, np.arange(count), extractor, Ranks(0, 1, CPU), 50, keep=False)
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    print(json.dumps(peaks))


@pytest.mark.slow
def test_memory_is_flat_from_2000_to_50000_images(sets: dict[str, Path], tmp_path: Path) -> None:
    folder = write_images(tmp_path / "one", 1)
    code = f"import test_evaluation; test_evaluation._grow({str(folder)!r}, {str(sets['stub'])!r})"
    paths = f"{Path(__file__).parent}:{harness.ROOT / 'tests'}:{harness.ROOT}"
    done = subprocess.run([sys.executable, "-c", code], env=harness.environment(PYTHONPATH=paths), text=True,
                          capture_output=True, timeout=harness.PATIENCE_SECONDS, check=True)
    _, at_2000, at_50000 = json.loads(done.stdout)
    assert at_50000 - at_2000 < 10_000      # kilobytes; 50,000 feature vectors of 2,048 would be 400 MB


@pytest.mark.parametrize(("a", "b", "metrics", "words"), [
    ({}, {"size": 20}, ("fid",), "16 x 16 px, 3 channels.*20 x 20 px, 3 channels"),
    ({}, {"grey": True}, ("fid",), "16 x 16 px, 3 channels.*16 x 16 px, 1 channel;"),
    ({}, None, ("fid",), "fid needs real images; pass them with --data"),
    ({}, {}, ("ppl",), "ppl is defined for style-based generators"),
    ({}, {}, ("is",), "needs class scores, which stub does not have"),
    ({}, {}, ("class_fid",), "class_fid needs classes"),
    ({"size": 8}, {"size": 8}, ("ms_ssim",), "ms_ssim needs images of 11 px or more"),
    ({"count": 3}, {}, ("prc",), "at least 4 samples are needed for prc, but there are only 3; use more"),
], ids=["size", "channels", "no data", "no style", "no logits", "no classes", "too small", "too few"])
def test_what_does_not_fit_is_an_error_that_names_it(a: dict, b: dict | None, metrics: tuple[str, ...], words: str,
                                                     tmp_path: Path, sets: dict[str, Path]) -> None:
    fakes = open_images(str(write_images(tmp_path / "fakes", **{"count": 12, **a})))
    reals = None if b is None else open_images(str(write_images(tmp_path / "reals", **{"count": 12, "first": 50, **b})))
    extractor = extractors.load(str(sets["stub"]), None, None, CPU)
    with pytest.raises(UserError, match=words):
        evaluation.evaluate(fakes, reals, extractor, Settings(metrics), Ranks(0, 1, CPU), show=False)


@pytest.mark.parametrize(("metric", "damaged", "most", "words"), [
    ("prc", 0, 3, "at least 4 real images are needed for prc, but there are only 3"),
    ("kid", 0, 1, "at least 2 real images are needed for kid, but there are only 1"),
    ("prdc", 7, None, "at least 6 readable real images are needed for prdc, but there are only 5"),
    ("ms_ssim", 0, 1, "")], ids=["few are asked for", "one is asked for", "most are damaged", "none are needed"])
def test_few_real_images_are_an_error_and_no_figure(metric: str, damaged: int, most: int | None, words: str,
                                                    tmp_path: Path, sets: dict[str, Path]) -> None:
    fakes, reals = (write_images(tmp_path / name, 12, first=first) for name, first in (("fakes", 0), ("reals", 50)))
    for path in sorted(reals.iterdir())[12 - damaged:]:
        path.write_bytes(b"no image")
    extractor = extractors.load(str(sets["stub"]), None, None, CPU)
    with pytest.raises(UserError, match=words) if words else contextlib.nullcontext():
        evaluation.evaluate(open_images(str(fakes)), open_images(str(reals)), extractor,
                            Settings((metric,), num_reals=most), Ranks(0, 1, CPU), show=False)


def test_images_of_two_sizes_in_a_folder_are_an_error_on_all_ranks(tmp_path: Path, sets: dict[str, Path]) -> None:
    folder = write_images(tmp_path / "mixed", 20)
    Image.new("RGB", (9, 9)).save(folder / "00011.png")
    with pytest.raises(AssertionError, match=r"00011\.png is 9 x 9 px, 3 channels, but 00000\.png is 16 x 16 px"):
        of_folders({**sets, "a": folder}, tmp_path, Settings(("fid",), batch_size=4), world=2)


@pytest.mark.slow
def test_everything_is_torch_fidelitys_on_the_same_pictures_and_weights(tmp_path: Path) -> None:
    """From files to figures, under seeded random weights of Inception."""
    import torch_fidelity

    weights = write_inception(tmp_path / "inception.pth")
    a, b = write_images(tmp_path / "a", 24, 32), write_images(tmp_path / "b", 22, 32, first=100, level=150)
    expected = torch_fidelity.calculate_metrics(
        input1=str(a), input2=str(b), cuda=False, fid=True, kid=True, isc=True, prc=True, kid_subset_size=20,
        feature_extractor="inception-v3-compat", feature_extractor_weights_path=str(weights), feature_layer_prc="2048",
        save_cpu_ram=True, verbose=False, cache=False, batch_size=8)
    found = evaluation.evaluate(open_images(str(a)), open_images(str(b)), extractors.load(None, weights, None, CPU),
                                Settings(("fid", "kid", "is", "prc"), batch_size=8, kid_subset=20), Ranks(0, 1, CPU),
                                show=False)["metrics"]
    for ours, theirs in {"fd": "frechet_inception_distance", "kid": "kernel_inception_distance_mean",
                         "is": "inception_score_mean", "precision": "precision", "recall": "recall"}.items():
        assert found[ours] == pytest.approx(expected[theirs], rel=1e-4), ours
