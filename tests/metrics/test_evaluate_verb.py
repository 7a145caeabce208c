"""`scalegan evaluate` as a user calls it: one JSON object, or a one-line error."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import harness
import numpy as np
import pytest
import torch
from metrics_made import write_images, write_stub
from PIL import Image
from small_generators import GAT, GENERATORS, saved

from scalegan.commands import evaluate as verb
from scalegan.commands import export
from scalegan.errors import SharedError, UserError
from scalegan.metrics import results

KEYS = {"metrics", "extractor", "resize", "num_samples", "warnings"}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("verb")
    return {"a": write_images(root / "a", 20), "b": write_images(root / "b", 21, first=500),
            "stub": write_stub(root / "stub.pt"), "cache": root / "cache"}


def evaluate(places: dict[str, Path], *arguments: object, **extra: str) -> subprocess.CompletedProcess[str]:
    return harness.verb("evaluate", *arguments, SCALEGAN_CACHE=str(places["cache"]), **extra)


@pytest.mark.slow
def test_folders_with_the_bundled_network_and_nothing_else(places: dict[str, Path]) -> None:
    done = evaluate(places, places["a"], "--data", places["b"], "--metrics", "fid,kid,is,prdc", "--bootstrap", 2)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result.keys() >= KEYS
    assert result["extractor"].keys() == {"name", "sha256", "official"}
    assert (result["extractor"]["name"], result["extractor"]["official"]) == ("EffLite0", False)
    assert result["metrics"].keys() >= {"fd", "kid", "is", "precision", "recall", "density", "coverage"}
    assert "fid" not in result["metrics"]
    assert result["standard_errors"].keys() >= {"fd", "kid"}
    assert result["num_samples"] == 20 and len(result["warnings"]) == 4
    assert "samples: 20 of 20" in done.stderr       # stderr is not a terminal, so the bar is a line


@pytest.mark.slow
def test_a_run_against_its_own_data_an_export_and_a_picture(places: dict[str, Path], finished_run: Path, tiny_set: Path,
                                                            tmp_path: Path) -> None:
    run, picture = tmp_path / "run", tmp_path / "nearest.png"
    shutil.copytree(finished_run, run)
    given = ("--extractor", places["stub"], "--metrics", "fid,kid,ms_ssim,class_fid", "--num-samples", 40)
    done = evaluate(places, run, *given, "--nearest", picture)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["num_samples"], result["images"], result["data"]["num_images"]) == (40, 2560, 304)
    assert set(result["by_class"]) <= set("abcd")
    sheet = np.asarray(Image.open(picture))
    assert sheet.shape[1] > sheet.shape[0] * 0.7        # ten rows of a sample and seven reals
    row = json.loads((run / "evaluations.jsonl").read_text())
    assert row["metrics"] == result["metrics"]
    newest = max((run / "checkpoints").glob("0*"))
    assert evaluate(places, newest, *given[:2], "--metrics", "fid", "--num-samples", 30).returncode == 0
    kept = [json.loads(line) for line in (run / "evaluations.jsonl").read_text().splitlines()]
    assert [(one["images"], one["num_samples"]) for one in kept] == [(2560, 40), (2560, 30)]  # a checkpoint's too
    out = tmp_path / "g.safetensors"
    assert harness.cli("export", finished_run, "--out", out).returncode == 0
    exported = evaluate(places, out, "--data", tiny_set, *given)
    assert json.loads(exported.stdout)["metrics"] == result["metrics"]


@pytest.mark.slow
def test_one_of_several_averages_is_measured_as_its_export_is(places: dict[str, Path], tiny_recipe: Path,
                                                             tiny_set: Path, tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "short.safetensors"
    harness.launch(1, f"recipe={tiny_recipe}", f"run_dir={run}", "emas={short: {half_life_images: 100}}",
                   "total_images=640")
    given = ("--extractor", places["stub"], "--metrics", "fid", "--num-samples", 40)
    main, short = (json.loads(evaluate(places, run, *given, *chosen).stdout) for chosen in ((), ("--ema", "short")))
    assert (short["ema"], main["ema"], short["images"]) == ("short", None, 640)
    assert short["metrics"] != main["metrics"]
    assert harness.cli("export", run, "--ema", "short", "--out", out).returncode == 0
    assert json.loads(evaluate(places, out, "--data", tiny_set, *given).stdout)["metrics"] == short["metrics"]


@pytest.mark.slow
def test_two_ranks_print_one_object_with_the_same_figures(places: dict[str, Path]) -> None:
    given = [str(places["a"]), "--data", str(places["b"]), "--extractor", str(places["stub"]), "--metrics", "fid,kid"]
    alone = evaluate(places, *given)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2",
               str(harness.ROOT / "scalegan" / "evaluate.py"), *given]
    together = subprocess.run(command, env=harness.environment(SCALEGAN_CACHE=str(places["cache"] / "two")), text=True,
                              capture_output=True, timeout=harness.PATIENCE_SECONDS)
    assert together.returncode == 0, together.stderr
    expected = json.loads(alone.stdout)["metrics"]
    assert json.loads(together.stdout)["metrics"] == {k: pytest.approx(v, rel=1e-6) for k, v in expected.items()}


@pytest.mark.slow
@pytest.mark.parametrize(("arguments", "words", "code"), [
    (("{a}", "--data", "{b}", "--extractor", "inception"), "--weights or $SCALEGAN_WEIGHTS", 1),
    (("{a}", "--data", "/nowhere"), "/nowhere does not exist", 1),
    (("{a}", "--data", "{b}", "--metrics", "fid,fjd"), "there is no metric 'fjd'", 2),
    (("{a}", "--data", "{small}", "--extractor", "{stub}"), "16 x 16 px, 3 channels, but", 1),
    (("{a}", "--data", "{b}", "--ema", "short"), "is a set of images, used as they are; leave out --ema", 2),
    (("{a}", "--data", "{b}", "--psi", "0.7"), "leave out --psi", 2),
    (("{a}", "--data", "{b}", "--standing-statistics", "0"), "leave out --standing-statistics", 2),
    (("{a}", "--data", "{b}", "--bootstrap", "1"), "--bootstrap: '1' is not a whole number of at least 2", 2),
    (("{a}", "--data", "{b}", "--kid-subset-size", "1"), "'1' is not a whole number of at least 2", 2),
], ids=["no weights", "no data", "no such metric", "another size", "no averages", "no psi", "no norms",
        "one resample", "subsets of one"])
def test_a_mistake_is_one_line(places: dict[str, Path], arguments: tuple[str, ...], words: str, code: int,
                               tmp_path: Path) -> None:
    names = {**places, "small": write_images(tmp_path / "small", 5, 8) if "{small}" in arguments else ""}
    done = evaluate(places, *(argument.format(**names) for argument in arguments))
    assert done.returncode == code and done.stdout == ""
    lines = [line for line in done.stderr.splitlines() if ": error: " in line]
    assert len(lines) == 1 and words in lines[0] and "Traceback" not in done.stderr


@pytest.mark.parametrize(("arguments", "says"), [
    (("--metrics", "kid", "--lpips", "vgg16.pt"), "--lpips is for ppl, and --metrics kid asks for others"),
    (("--metrics", "fid", "--kid-subset-size", "9"), "--kid-subset-size is for kid"),
    (("--metrics", "ms_ssim", "--bootstrap", "9"), "--bootstrap is for fid, kid, is, prc, prdc"),
    (("--extractor", "{stub}", "--weights", "file"), "--weights file: a TorchScript extractor has its own"),
])
def test_an_option_that_nothing_heeds_is_refused(arguments: tuple[str, ...], says: str, places: dict[str, Path],
                                                 ) -> None:
    with pytest.raises(UserError, match=says):
        verb.main([str(places["a"]), "--data", str(places["b"]), *(one.format(**places) for one in arguments)])


@pytest.fixture
def few_without_gpu(monkeypatch: pytest.MonkeyPatch, places: dict[str, Path]) -> None:
    """Fewer samples and real images than the small sets here have."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(verb, "_SAMPLES_WITHOUT_GPU", 12)
    monkeypatch.setattr(verb, "_REALS_WITHOUT_GPU", 15)
    monkeypatch.setenv("SCALEGAN_CACHE", str(places["cache"]))


@pytest.mark.parametrize(("given", "said", "numbers"), [
    ((), ("12 of 20 samples and 15 of 21 real images", "pass --num-samples 20 --num-reals 21"), (12, 15)),
    (("--num-samples", "20"), ("GPU: 15 of 21 real images are used", "pass --num-reals 21"), (20, 15)),
    (("--num-samples", "20", "--num-reals", "21"), (), (20, 21)),
    (("--num-samples", "9", "--metrics", "ms_ssim"), (), (9, None)),
], ids=["nothing is given", "the number of samples is given", "both numbers are given", "no real images are needed"])
def test_fewer_images_are_used_without_a_gpu_and_that_is_said_first(
        few_without_gpu: None, places: dict[str, Path], given: tuple[str, ...], said: tuple[str, ...],
        numbers: tuple[int, int | None], capsys: pytest.CaptureFixture) -> None:
    """Also: the size of KID's subsets that the result names is the one used."""
    assert verb.main([str(places["a"]), "--data", str(places["b"]), "--extractor", str(places["stub"]), *given]) == 0
    out, err = capsys.readouterr()
    result, first = json.loads(out), err.splitlines()[0]
    assert first.startswith("there is no GPU") == bool(said) and [words for words in said if words not in first] == []
    assert (result["num_samples"], (result["data"] or {}).get("num_images")) == numbers
    if "kid" in result["metrics"]:
        assert f"100 subsets of {min(numbers)}," in result["constants"]["kid"]


@pytest.mark.slow
def test_truncation_and_guidance_are_those_of_the_samples(few_without_gpu: None, places: dict[str, Path],
                                                          tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                          capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setitem(GENERATORS, "GAT", GAT)
    arguments = ["--data", str(places["b"]), "--extractor", str(places["stub"])]
    found = []
    for given in ((), ("--psi", "0.5"), ("--guidance", "2")):
        assert verb.main([str(saved("GAT", tmp_path / "gat.safetensors")), *arguments, *given]) == 0
        found.append(json.loads(capsys.readouterr().out))
    assert [(result["psi"], result["guidance"]) for result in found] == [(1, 1), (0.5, 1), (1, 2)]
    assert [results.drawn_with(result) for result in found] == ["", "psi 0.5", "guidance 2"]
    assert len({result["metrics"]["fd"] for result in found}) == 3
    for given in (("--psi", "0.5"), ("--guidance", "2")):
        with pytest.raises(SharedError, match=f"{given[0]} .*leave it out"):
            verb.main([str(saved("DCGAN", tmp_path / "dcgan.safetensors")), *arguments, *given])


@pytest.mark.slow
def test_a_folder_that_push_wrote_is_the_export_in_it(few_without_gpu: None, places: dict[str, Path], tmp_path: Path,
                                                      capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "pushed").mkdir()
    file = saved("DCGAN", tmp_path / "pushed" / "model.safetensors")
    found = []
    for source in (file, file.parent):
        assert verb.main([str(source), "--data", str(places["b"]), "--extractor", str(places["stub"])]) == 0
        found.append(json.loads(capsys.readouterr().out)["metrics"])
    assert found[0] == found[1]


def test_the_fewer_samples_of_a_run_are_those_that_one_would_ask_for(
        few_without_gpu: None, places: dict[str, Path], finished_run: Path, tiny_set: Path, tmp_path: Path,
        capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "g.safetensors"
    assert export.main([str(finished_run), "--out", str(out)]) == 0
    found = []
    for given in ((), ("--num-samples", "12")):
        capsys.readouterr()
        assert verb.main([str(out), "--data", str(tiny_set), "--extractor", str(places["stub"]), *given]) == 0
        found.append(capsys.readouterr())
    assert "12 of 50,000 samples" in found[0].err and "--num-samples 50000" in found[0].err
    assert "50,000" not in found[1].err
    assert json.loads(found[0].out)["metrics"] == json.loads(found[1].out)["metrics"]
