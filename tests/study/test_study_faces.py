"""`scalegan study faces` from end to end, and what it refuses."""

import json
from pathlib import Path

import pytest
from faces_made import make_faces
from harness import make_set
from PIL import Image

from scalegan.commands import study
from scalegan.errors import UserError
from scalegan.probing import classifier
from scalegan.study.faces import bench


@pytest.mark.parametrize("arguments, said", [
    ([], "--data PATH --test PATH"), (["--data", "x"], "--data PATH --test PATH"),
    (["--data", "x", "--test", "y", "--test", "z"], "--data PATH --test PATH"),
    (["--data", "x", "--test", "y", "--questions", "rebuild"], "did you mean 'rebuilding'"),
    (["--data", "nowhere", "--test", "y"], "nowhere does not exist"),
    (["--data", "faces", "--test", "small"], "use sets of the same shape"),
    (["--data", "small", "--test", "small"], "32, 64, 128, 256 px"),
    (["--data", "photos", "--test", "faces"], "--data photos is not a prepared set"),
    (["--data", "classes", "--test", "classes"], "has classes"),
])
def test_what_cannot_work_is_refused_in_a_line_before_anything_is_trained(
        arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_faces(tmp_path / "faces", 12)
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (32, 32)).save(tmp_path / "photos" / "0.png")
    make_set(tmp_path / "classes", (12,), "png", 32)
    make_set(tmp_path / "small", (12,), "png", 16)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as raised:
        study.main(["faces", "--out", "out", *arguments])
    assert said in str(raised.value) and len(str(raised.value).splitlines()) == 1
    assert not (tmp_path / "out" / "runs").exists()


@pytest.mark.slow
def test_a_package_that_is_missing_is_named_before_hours_of_training(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise UserError("pip install 'scalegan[faces]'")

    monkeypatch.setattr(bench, "Embedding", missing)
    train, test = make_faces(tmp_path / "train", 12), make_faces(tmp_path / "test", 9)
    with pytest.raises(UserError, match="pip install"):
        study.main(["faces", "--data", str(train), "--test", str(test), "--questions", "recognition,several", "--out",
                    str(tmp_path / "out")])
    assert not (tmp_path / "out" / "runs").exists()


@pytest.mark.slow
def test_a_table_and_pictures_and_a_repeated_call_trains_nothing_and_gives_the_same_bytes(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    monkeypatch.setattr(classifier, "_SHOWN", 640)
    make_faces(tmp_path / "train", 128), make_faces(tmp_path / "test", 20)
    arguments = ["faces", "--data", str(tmp_path / "train"), "--test", str(tmp_path / "test"), "--images", "64",
                 "--samples", "16", "--questions", "recognition", "--out", str(tmp_path / "out")]
    assert study.main(arguments) == 0
    out = tmp_path / "out"
    assert {path.name for path in (out / "runs").iterdir()} == {"iterative_integrated_0", "dcgan_0"}
    found = json.loads((out / "table.json").read_text())["recognition"]
    assert list(found["rows"]) == ["iterative GAN", "DCGAN + L2-SVM", "CNN", "majority"]
    for (figures,) in found["rows"].values():
        of_each = figures["by_attribute"].values()
        assert figures["hamming"] == pytest.approx(sum(of_each) / len(of_each), abs=1e-6)
    assert found["rows"]["CNN"][0]["better"] >= 4       # patches are easy to see
    assert len(found["claims"]) == 2
    table = (out / "table.md").read_text()
    assert table.count("hold") >= 2 and "Receding_Hairline in place of Bald" in table
    assert Image.open(out / "picture.png").width == Image.open(out / "recognition.png").width
    files = {path: path.read_bytes() for path in out.iterdir() if path.is_file()}
    capfd.readouterr()
    assert study.main(arguments) == 0
    assert "images/s" not in capfd.readouterr().out
    assert {path: path.read_bytes() for path in out.iterdir() if path.is_file()} == files
