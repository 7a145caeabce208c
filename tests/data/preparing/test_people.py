"""Prepared sets say who their images show, where CelebA's file of identities does, and sets without that still work."""

from pathlib import Path

import numpy as np
import pytest
import sources_made as made

from scalegan.commands.prepare import main
from scalegan.data.manifest import Index, Manifest
from scalegan.data.preparing.sources import open_source
from scalegan.metrics.images import open_images

COUNT, TEXT = 40, "identity_CelebA.txt"
PEOPLE = [1000 + 7 * (i // 2) for i in range(COUNT)]


def source(folder: Path, change=lambda files: files) -> Path:
    return made.write_files(folder, change(made.celeba_files(COUNT)))


def prepared(source: Path, folder: Path, *options: str) -> Path:
    assert main([str(source), str(folder), "--kind", "celeba", "--resolution", "16", "--workers", "1", *options]) == 0
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("options", "expected"), [
    (("--labels", "none"), PEOPLE), (("--split", "val"), PEOPLE[1::3]),
], ids=["without labels", "a split with attributes"])
def test_a_set_keeps_who_its_images_show(tmp_path: Path, options: tuple[str, ...], expected: list[int]) -> None:
    images = open_images(str(prepared(source(tmp_path / "celeba"), tmp_path / "set", *options)))
    assert images.people.tolist() == expected


@pytest.mark.slow
def test_it_is_no_part_of_the_content(tmp_path: Path) -> None:
    """So that results on older sets can be compared, and their runs resumed."""
    known = prepared(source(tmp_path / "celeba"), tmp_path / "set")
    unknown = prepared(source(tmp_path / "other", lambda files: {n: b for n, b in files.items() if n != TEXT}),
                       tmp_path / "without")
    assert Manifest.load(known).content == Manifest.load(unknown).content
    assert open_images(str(unknown)).people is None


def test_an_index_from_before_has_none(tmp_path: Path) -> None:
    empty = np.zeros(0, np.int64)
    index = Index(np.arange(2), np.arange(2), np.arange(2), empty)
    index.save(tmp_path / "index.safetensors")
    assert Index.load(tmp_path / "index.safetensors").people.tolist() == []


@pytest.mark.parametrize(("change", "remark"), [
    (lambda text: text.replace(b"000003.jpg", b"999999.jpg"), "no row for 000003"),
    (lambda text: text.replace(b"1007", b"Smith"), "not a file name and a number"),
], ids=["missing row", "names instead of numbers"])
def test_images_are_prepared_without_it_if_the_file_is_damaged(tmp_path: Path, change, remark: str) -> None:
    listed = open_source("celeba", [source(tmp_path / "celeba", lambda files: files | {TEXT: change(files[TEXT])})])
    assert listed.people is None and len(listed) == COUNT
    assert any("who the images show is not recorded" in one and remark in one for one in listed.remarks)


def test_images_of_a_folder_say_it_in_their_own_order(tmp_path: Path) -> None:
    images = open_images(str(source(tmp_path / "celeba")))
    assert [images.people[i] for i in range(COUNT)] == PEOPLE
