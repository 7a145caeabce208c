"""Networks go to the hub and come back, through a stub of its server; cards are whole, and name no private path."""

import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from harness import cli, digest
from hub_stub import TOKEN, Stub, commit_id
from small_generators import saved

import scalegan
from scalegan.checkpoints import exports, hub
from scalegan.cli import run_verb
from scalegan.commands import sample
from scalegan.commands.push import main
from scalegan.errors import UserError
from scalegan.metrics import results

pytest.importorskip("huggingface_hub", reason="needs the extra `hub`")
RESULT = {"metrics": {"fid": 12.345678, "kid": 0.0123}, "extractor": {"name": "EffLite0", "sha256": "0" * 64},
          "resize": "bilinear", "num_samples": 1000, "constants": {}, "images": 2560, "ema": None,
          "data": {"path": "/home/somebody/secret/held_out", "content": "c" * 64, "num_images": 304}}


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Stub]:
    """A server in place of the hub, also for this process, and an empty cache."""
    from huggingface_hub import constants, file_download, hf_api
    from huggingface_hub.utils import _http

    with Stub() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(hf_api.api, "endpoint", server.url)
        for module in (constants, file_download):
            monkeypatch.setattr(module, "HUGGINGFACE_CO_URL_TEMPLATE",
                                server.url + "/{repo_id}/resolve/{revision}/{filename}", raising=False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(_http.time, "sleep", lambda seconds: None)      # between attempts to connect
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield server


@pytest.fixture
def evaluated_run(finished_run: Path, tmp_path: Path) -> Path:
    run = Path(shutil.copytree(finished_run, tmp_path / "run"))
    results.append(run, {**RESULT, "images": 900, "metrics": {"fid": 99.0}})
    results.append(run, RESULT)
    results.append(run, {**RESULT, "metrics": {"fid": 5.0}, "psi": 0.5, "guidance": 1.0})
    return run


def same_networks(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    labels = torch.arange(4)
    return torch.equal(exports.sample(a, [0, 1, 2, 3], labels, 1.0), exports.sample(b, [0, 1, 2, 3], labels, 1.0))


@pytest.mark.slow
def test_a_folder_has_a_whole_card_and_no_private_path(evaluated_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "made"
    assert main([str(evaluated_run), "--to-folder", str(folder)]) == 0
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    card, config = (folder / "README.md").read_text(), json.loads((folder / "config.json").read_text())
    front = yaml.safe_load(card.split("---\n")[1])
    assert front["license"] == "unknown" and front["library_name"] == "scalegan" and "dcgan" in front["tags"]
    assert digest(evaluated_run) in card and config["digest"] in card and "2,560 images" in card
    assert "| fid | 12.346 | EffLite0 | held_out (304 images) | 1,000 |" in card and "| fid | 99 |" not in card
    assert "| fid | 5 | EffLite0 | held_out (304 images) | 1,000, psi 0.5 |" in card
    assert "real: tiny, shape [3, 16, 16], labels: class" in card and "Labels: a, b, c, d." in card
    assert "has not chosen a licence yet" in card and not re.search(r"\bNone\b|\bnan\b|\{|\}", card.split("```yaml")[0])
    recipe = yaml.safe_load(card.split("```yaml\n")[1].split("```")[0])
    assert recipe == config["recipe"] and recipe["data"]["path"] == "tiny" and recipe["batch_size"] == 64
    for path in folder.iterdir():
        content = path.read_bytes()
        assert str(tmp_path).encode() not in content and b"somebody" not in content and b"/tmp" not in content, path
    assert same_networks(scalegan.load(folder), scalegan.load(evaluated_run))


@pytest.mark.slow
def test_a_card_says_what_it_does_not_know(tmp_path: Path) -> None:
    assert main([str(saved("StyleGAN2", tmp_path / "G.safetensors")), "--to-folder", str(tmp_path / "made")]) == 0
    card = (tmp_path / "made" / "README.md").read_text()
    assert "These weights were not evaluated." in card and "weights come without a run" in card
    assert "the run's checkpoint" not in card


@pytest.mark.slow
def test_what_an_author_wrote_about_the_licence_stays(tmp_path: Path) -> None:
    export, card = saved("R3GAN", tmp_path / "G.safetensors"), tmp_path / "made" / "README.md"
    assert main([str(export), "--to-folder", str(card.parent)]) == 0
    mine = card.read_text().replace("license: unknown  # to be chosen by the author", "license: mit")
    mine = mine.partition("## Licence")[0] + "## Licence\n\nMIT, but ask me first.\n"
    card.write_text(mine.replace("These weights were not evaluated.", "stale"))
    assert main([str(export), "--to-folder", str(card.parent)]) == 0
    assert card.read_text() == mine


@pytest.mark.slow
def test_push_and_load_through_the_hub(stub: Stub, evaluated_run: Path, tmp_path: Path,
                                       capsys: pytest.CaptureFixture) -> None:
    assert main([str(evaluated_run), "ann/digits", "--private"]) == 0
    assert capsys.readouterr().out.strip() == f"{stub.url}/ann/digits" and stub.private == {"ann/digits"}
    assert set(stub.repositories["ann/digits"][0]) == {"README.md", "config.json", "model.safetensors"}
    card = stub.repositories["ann/digits"][0]["README.md"].decode()
    assert "scalegan sample hf://ann/digits" in card and card.count("# ann/digits\n") == 1
    here = scalegan.load(evaluated_run)
    assert same_networks(scalegan.load("hf://ann/digits"), here)
    stub.repositories["ann/digits"][0]["README.md"] = card.replace("license: unknown", "license: mit").encode()
    assert main([str(evaluated_run), "ann/digits"]) == 0
    assert len(stub.repositories["ann/digits"]) == 2
    assert "license: mit" in stub.repositories["ann/digits"][1]["README.md"].decode()
    assert same_networks(scalegan.load(f"hf://ann/digits@{commit_id(0)}"), here)
    for wrong, says in {"hf://ann/other": "no such repository", "hf://ann/digits@v9": "no such revision",
                        "hf://a/b/c": "not of the form", "hf://": "not of the form"}.items():
        with pytest.raises(UserError, match=says):
            scalegan.load(wrong)
    stub.repositories["ann/empty"] = [{"notes.txt": b"hello"}]
    with pytest.raises(UserError, match=r"no model\.safetensors"):
        scalegan.load("hf://ann/empty")
    stub.repositories["ann/pickled"] = [{"model.safetensors": b"not tensors", "pytorch_model.bin": b"pickle"}]
    with pytest.raises(UserError, match="is not a generator that"):
        scalegan.load("hf://ann/pickled")
    assert not any("pytorch_model.bin" in asked for asked in stub.asked)


@pytest.mark.slow
def test_commands_take_what_is_on_the_hub(stub: Stub, tmp_path: Path) -> None:
    export = saved("StyleGAN2", tmp_path / "G.safetensors")
    assert main([str(export), "ann/styles"]) == 0
    for source, out in ((str(export), "here"), ("hf://ann/styles", "there")):
        assert run_verb(sample.main, [source, "--seeds", "0-3", "--out", str(tmp_path / out)]) == 0
    assert (tmp_path / "there" / "grid.png").read_bytes() == (tmp_path / "here" / "grid.png").read_bytes()


@pytest.mark.slow
def test_from_pretrained_and_save_pretrained(stub: Stub, tmp_path: Path) -> None:
    from scalegan.checkpoints.pretrained import Pretrained

    export = saved("StyleGAN2", tmp_path / "G.safetensors")
    z = torch.randn(2, 12)
    expected = scalegan.load(export)(z, noise="const")
    Pretrained(scalegan.load(export)).save_pretrained(tmp_path / "folder")
    back = Pretrained.from_pretrained(tmp_path / "folder")
    assert torch.equal(back(z, noise="const"), expected) and not back.training
    assert back.about["images"] == 0 and "has not chosen a licence yet" in (tmp_path / "folder/README.md").read_text()
    back.push_to_hub("ann/styles")
    assert torch.equal(Pretrained.from_pretrained("ann/styles")(z, noise="const"), expected)
    with pytest.raises(UserError, match="no network 'Q'"):
        Pretrained.from_pretrained(tmp_path / "folder", network="Q")


@pytest.mark.slow
def test_errors_of_push(stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export = str(saved("R3GAN", tmp_path / "G.safetensors"))
    for arguments in ([], ["ann/x", "--to-folder", str(tmp_path / "made")]):
        with pytest.raises(UserError, match="either USER/NAME"):
            main([export, *arguments])
    with pytest.raises(UserError, match="not of the form"):
        main([export, "not a name/at all"])
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(UserError, match="hf auth login"):
        main([export, "ann/x"])
    stub.shutdown()
    stub.server_close()
    with pytest.raises(UserError, match=r"hf://ann/x .*reached"):
        main([export, "ann/x"])
    with pytest.raises(UserError, match=r"hf://ann/x .*reached"):
        hub.located("hf://ann/x")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"scalegan\[hub\]"):
        hub.located("hf://ann/x")
    assert main([export, "--to-folder", str(tmp_path / "made")]) == 0       # needs no huggingface_hub


@pytest.mark.slow
def test_offline_one_line_says_so(tmp_path: Path) -> None:
    done = cli("sample", "hf://ann/x", HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path))
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "HF_HUB_OFFLINE is set" in done.stderr
