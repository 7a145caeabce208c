"""recipe=auto on images of one's own: it prepares them, writes a recipe, and that recipe counts from then on."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from harness import cli, digest, train, train_command
from sources_made import encoded, pixels, write_folder, write_zip

from scalegan import train as train_door
from scalegan.commands import plan, submit
from scalegan.config.auto import Device
from scalegan.errors import UserError
from scalegan.training import automatic
from scalegan.training.run_folder import IDENTITY, look_up

GPU = Device("gpu", 80 << 30)
SHORT = ("data.resolution=16", "data.workers=0", "model.width=4", "total_images=128", "log.tensorboard=false",
         "precision=fp32")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("images") / "photos", {"cats": 120, "dogs": 80})


@pytest.fixture(scope="module")
def run(photos: Path) -> tuple[Path, str]:
    """A finished run, in the folder that it takes by default, and what it printed."""
    done = cli("train", "recipe=auto", f"data.path={photos}", *SHORT, cwd=photos.parent)
    assert done.returncode == 0, done.stderr
    return photos.parent / "runs" / "photos", done.stdout


def of(run: Path, *more: str, device: Device | None = None) -> dict:
    """The identity of the run that a command would train or resume."""
    arguments = ["recipe=auto", f"run_dir={run}", *more]
    tree = automatic.loading.to_dict(automatic.load(arguments, device=device or Device("cpu")))
    return {key: look_up(tree, key) for key in IDENTITY}


@pytest.mark.slow
def test_it_says_what_it_chose_and_why_and_trains(run: tuple[Path, str], photos: Path) -> None:
    folder, said = run
    for line in (rf"recipe=auto for {photos}: 200 images of about 32 px, 2 classes, on CPUs",
                 "resolution +16 px +as given", "labels +class +2 classes of at least 80 images",
                 "networks +DCGAN.*as given: model.width", "length +128 images +as given",
                 "preparing the images once, in runs/photos/data", "written to runs/photos/recipe.yaml",
                 "data +runs/photos/data: 200 images of 16 x 16 px, 2 classes", "finished at 128 images"):
        assert re.search(f"^{line}", said, re.M), f"{line} is not in:\n{said}"
    assert (folder / "samples" / "000000000128.png").is_file()
    assert "train with data.path" not in said       # prepare's advice, which is for those who prepare


@pytest.mark.slow
def test_the_written_recipe_has_the_reasons_and_is_the_same_run(run: tuple[Path, str], tmp_path: Path) -> None:
    folder, said = run
    header = [line.removeprefix("# ") for line in (folder / "recipe.yaml").read_text().splitlines() if line[0] == "#"]
    assert set(re.findall(r"^(?:resolution|labels|augment) .*", said, re.M)) <= set(header)
    train(f"recipe={folder / 'recipe.yaml'}", f"run_dir={tmp_path}", cwd=folder.parent.parent)
    assert digest(tmp_path) == digest(folder)


@pytest.mark.slow
def test_it_resumes_by_its_folder_alone(run: tuple[Path, str], tmp_path: Path, monkeypatch) -> None:
    folder = shutil.copytree(run[0], tmp_path / "runs" / "photos")
    said = train("recipe=auto", "run_dir=runs/photos", "total_images=192", cwd=tmp_path).stdout
    assert "resuming runs/photos at 128 images" in said and "finished at 192 images" in said
    assert "preparing" not in said and digest(folder) != digest(run[0])


@pytest.mark.slow
def test_on_another_machine_the_written_recipe_counts(run: tuple[Path, str], photos: Path, monkeypatch) -> None:
    monkeypatch.chdir(photos.parent)
    assert of(run[0]) == of(run[0], device=GPU) == of(run[0], f"data.path={photos}", device=GPU)
    assert of(run[0])["model"]["name"] == "dcgan"
    assert of(photos.parent / "new", f"data.path={photos}", device=GPU)["model"]["name"] == "stylegan2"


@pytest.mark.slow
def test_an_edited_recipe_counts_too(run: tuple[Path, str], tmp_path: Path) -> None:
    folder = tmp_path / "edited"
    folder.mkdir()
    tree = yaml.safe_load((run[0] / "recipe.yaml").read_text())
    (folder / "recipe.yaml").write_text(yaml.safe_dump({**tree, "total_images": 999, "seed": 5}))
    recipe = automatic.load(["recipe=auto", f"run_dir={folder}", "seed=6"])
    assert (recipe.total_images, recipe.seed, recipe.run_dir) == (999, 6, str(folder))


@pytest.mark.slow
def test_a_zip_is_prepared_and_shards_are_used_where_they_are(run: tuple[Path, str], tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "scans.zip", {f"{i}.png": encoded(pixels(i, 20, 20), "PNG") for i in range(100)})
    recipe = automatic.load(["recipe=auto", f"data.path={archive}", f"run_dir={tmp_path / 'scans'}"], begin=True)
    assert Path(recipe.data.path) == tmp_path / "scans" / "data" and (tmp_path / "scans/data/manifest.json").is_file()
    assert (recipe.data.resolution, recipe.data.labels) == (32, "none")
    shards = run[0] / "data"
    recipe = automatic.load(["recipe=auto", f"data.path={shards}", f"run_dir={tmp_path / 'b'}"], begin=True)
    assert Path(recipe.data.path) == shards and not (tmp_path / "b" / "data").exists()
    assert recipe.data.resolution == 16


def test_what_concerns_one_command_is_not_written(photos: Path, tmp_path: Path) -> None:
    words = ["recipe=auto", f"run_dir={tmp_path}", "resume=never", "seed=3"]
    assert automatic.load([*words, f"data.path={photos}"], begin=True).resume == "never"
    recipe = automatic.load(words[:2])
    assert (recipe.resume, recipe.seed, recipe.data.labels) == ("auto", 3, "class")


def test_without_labels_any_folders_will_do(tmp_path: Path) -> None:
    mixed = write_folder(tmp_path / "mixed", {"": 60, "more": 50})
    words = ["recipe=auto", f"data.path={mixed}", f"run_dir={tmp_path / 'run'}"]
    with pytest.raises(UserError, match="both in sub-folders"):
        automatic.load(words)
    assert automatic.load([*words, "data.labels=none"], begin=True).data.labels == "none"
    assert (tmp_path / "run" / "data" / "manifest.json").is_file()


@pytest.mark.slow
def test_to_look_at_the_recipe_writes_nothing(photos: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["recipe=auto", f"data.path={photos}"]
    assert train_door.main([*words, "--print-config"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert (printed["run_dir"], printed["data"]["path"]) == ("runs/photos", "runs/photos/data")
    assert plan.main(["auto", *words[1:], "--gpus", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"][0]["state_bytes"] > 0
    assert submit.main([*words, "profile=local_slurm", "--dry-run"]) == 0
    assert f"{tmp_path}/runs/photos" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("arguments", "message"), [
    pytest.param([], "recipe=auto needs data.path=IMAGES", id="no images are named"),
    pytest.param(["data.path=nowhere"], "data.path=nowhere does not exist", id="there is no such folder"),
    pytest.param(["data.path=empty"], "empty has no images", id="the folder has no images"),
    pytest.param(["data.path=few"], "has 7 images.*at least 100", id="the images are too few"),
    pytest.param(["data.path=broken"], "none of the 64 images looked at can be read", id="no image can be read"),
    pytest.param(["data.path=note.txt"], "note.txt is not a folder, a zip", id="it is a text file"),
    pytest.param(["data.path=s3://bucket/set"], "name a recipe", id="it is elsewhere"),
    pytest.param(["run_dir=new"], "new holds no run .*add data.path", id="there is no run to resume"),
    pytest.param(["run_dir=other", "data.path=few"], "recipe=auto did not begin", id="the folder holds another run"),
    pytest.param(["run_dir={run}", "data.path=few"], "holds a run on .*photos, not few", id="it was begun on others"),
    pytest.param(["data.path={photos}", "modl.width=3"], "did you mean 'model'", id="a key is misspelt"),
    pytest.param(["data.path={photos}", "model.name=biggan"], "chooses for dcgan", id="a family has no rules"),
])
@pytest.mark.slow
def test_mistakes_are_answered_before_anything_is_written(
        arguments: list[str], message: str, run: tuple[Path, str], photos: Path, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path, {"empty": 0, "few": 7})
    (tmp_path / "broken").mkdir()
    for number in range(100):
        (tmp_path / "broken" / f"{number}.jpg").write_text("not a picture")
    (tmp_path / "note.txt").write_text("not a set")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.yaml").write_text("seed: 0\n")
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=message) as error:
        automatic.load(["recipe=auto", *(a.format(run=run[0], photos=photos) for a in arguments)], begin=True)
    assert "\n" not in str(error.value) and sorted(tmp_path.rglob("*")) == before


def test_too_many_broken_images_are_answered_with_what_this_command_can_do(photos: Path, tmp_path: Path) -> None:
    mixed = shutil.copytree(photos, tmp_path / "mixed")
    for number in range(40):
        (mixed / "cats" / f"broken{number}.jpg").write_text("not a picture")
    with pytest.raises(UserError, match=r"^\d\d of 240 images.*rejected.jsonl.*NEW_FOLDER --max-rejected") as e:
        automatic.load(["recipe=auto", f"data.path={mixed}", f"run_dir={tmp_path / 'run'}"], begin=True)
    assert "\n" not in str(e.value) and not (tmp_path / "run" / "recipe.yaml").exists()


@pytest.mark.slow
def test_several_ranks_begin_a_run_together(photos: Path, tmp_path: Path) -> None:
    said = train("recipe=auto", f"data.path={photos}", "run_dir=both", *SHORT, "engine.reduction=tree",
                 "micro_batch_size=16", ranks=2, cwd=tmp_path).stdout
    assert said.count("recipe=auto for") == said.count("finished at 128 images") == 1, said
    done = subprocess.run(train_command("recipe=auto", "data.path=nowhere", "run_dir=none", ranks=2), cwd=tmp_path,
                          capture_output=True, text=True, timeout=120)
    assert done.returncode and done.stderr.count("data.path=nowhere does not exist") == 1
