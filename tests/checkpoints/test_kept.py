"""Networks that stay in memory between loads."""

from pathlib import Path

import pytest
import small_generators
import torch

from scalegan.checkpoints import exports, kept


@pytest.fixture
def export(tmp_path: Path) -> Path:
    path = tmp_path / "generator.safetensors"
    exports.save(small_generators.networks("DCGAN"), path)
    return path


def test_a_file_is_read_once_while_it_stays_the_same(export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads, read = [], exports.read_export
    monkeypatch.setattr(exports, "read_export", lambda path: reads.append(path) or read(path))
    with kept.keeping(2):
        first, second = exports.load(export), exports.load(export)
        assert len(reads) == 1
        exports.load(export, psi=1.0, standing_batches=0)       # another question
        assert len(reads) == 2
        other = small_generators.networks("DCGAN")
        exports.save(other, export)
        third = exports.load(export)
        assert len(reads) == 3
    exports.load(export)
    assert len(reads) == 4, "outside, nothing is kept"
    z = torch.randn(2, first.latent_dim)
    assert torch.equal(first(z, None), second(z, None))
    assert third.about == first.about


def test_what_one_caller_does_to_a_network_no_other_sees(export: Path) -> None:
    with kept.keeping(2):
        first = exports.load(export)
        before = {name: tensor.clone() for name, tensor in first.state_dict().items()}
        with torch.no_grad():
            for parameter in first.parameters():
                parameter.add_(1)
        second = exports.load(export)
    assert all(torch.equal(tensor, before[name]) for name, tensor in second.state_dict().items())
    assert second.parts.keys() == first.parts.keys()
    for name, part in second.parts.items():
        assert {id(p) for p in part.parameters()} <= {id(p) for p in second.parameters()}, name


def test_only_the_last_ones_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [tmp_path / f"{name}.safetensors" for name in "abc"]
    for file in files:
        exports.save(small_generators.networks("DCGAN"), file)
    reads, read = [], exports.read_export
    monkeypatch.setattr(exports, "read_export", lambda path: reads.append(Path(path).stem) or read(path))
    with kept.keeping(2):
        for file in [*files, files[2], files[1], files[0]]:
            exports.load(file)
    assert reads == ["a", "b", "c", "a"]
