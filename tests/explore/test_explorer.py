"""The page in a browser: every tab by clicking, wrong uploads, visitors, new checkpoints. Runs stay as they were."""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import small_generators
from browser import WIDTHS, Visit, visit
from harness import environment
from PIL import Image
from small_games import exported

from scalegan.data.spec import Spec

pytestmark = pytest.mark.slow
DOOR = "import sys; from scalegan.cli import main; sys.argv[0] = 'scalegan'; sys.exit(main())"


def digests(folder: Path) -> dict[str, str]:
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def runs(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run and an export of a style-based generator."""
    folder = tmp_path_factory.mktemp("explored")
    shutil.copytree(finished_run, folder / "digits")
    small_generators.saved("StyleGAN2", folder / "style.safetensors")
    (folder / "digits" / "evil.pkl").write_bytes(b"cos\nsystem\n(S'touch /tmp/never'\ntR.")
    return folder


@contextmanager
def explorer(folder: Path, *runs: str) -> Iterator[str]:
    """The address of a page about runs in a folder."""
    process = subprocess.Popen([sys.executable, "-c", DOOR, "explore", *runs, "--no-browser"], cwd=folder,
                               env=environment(), stdout=subprocess.PIPE, text=True)
    line = process.stdout.readline()
    assert line.startswith("ScaleGAN explorer: http://127.0.0.1:"), line
    yield line.split()[2]
    process.terminate()
    process.wait(30)


@pytest.fixture(scope="module")
def address(runs: Path) -> Iterator[str]:
    with explorer(runs, "digits", "style.safetensors") as found:
        yield found


def opened(browser: Any, address: str, width: int = 1280) -> Visit:
    """The page with its first pictures."""
    seen = visit(browser, address, width)
    seen.page.locator(".pictures img").first.wait_for()
    return seen


def clicked(seen: Visit, tab: str, button: str) -> list[str]:
    """The commands that a tab shows after a click on its button."""
    page = seen.page
    page.get_by_role("tab", name=tab).click()
    page.get_by_role("button", name=button, exact=True).click()
    page.locator(".tabitem:visible .pictures img").first.wait_for(timeout=300_000)
    return page.locator(".tabitem:visible .cm-content").inner_text().splitlines()


def test_every_tab_makes_pictures(browser: Any, address: str, runs: Path, tmp_path: Path) -> None:
    before = digests(runs)
    seen = opened(browser, address)
    page = seen.page
    assert page.get_by_role("tab").filter(visible=True).all_inner_texts()[:2] == ["Samples", "Walk"]
    page.locator(".block", has_text="Classes").last.locator("input").click()
    page.get_by_role("option", name="b", exact=True).click()
    page.get_by_text("scalegan sample digits --seeds 0-15 --classes b --out samples").wait_for()
    assert clicked(seen, "Walk", "Walk") == [
        "scalegan interpolate digits --seeds 0-15 --steps 12 --class b --out walk.gif",
        "scalegan interpolate style.safetensors --seeds 0-15 --steps 12 --out walk.gif"]
    assert clicked(seen, "Mix styles", "Mix") == [
        "scalegan interpolate style.safetensors --seeds 0-15 --mix 100-107 --out mixed.png"]
    page.get_by_role("tab", name="Directions").click()
    slider = page.locator(".tabitem:visible input[type=range]").first
    slider.wait_for()
    slider.fill("2")
    lines = clicked(seen, "Directions", "Move")
    assert "scalegan edit digits --direction 0=+2 --seeds 0-15 --classes b --directions digits-sefa.safetensors " \
        "--out edit.png" in lines
    Image.new("RGB", (40, 30), "red").save(tmp_path / "photo.png")
    page.get_by_role("tab", name="Project a photo").click()
    page.locator(".tabitem:visible input[type=file]").set_input_files(tmp_path / "photo.png")
    page.locator(".tabitem:visible input[type=number]").fill("50")
    lines = clicked(seen, "Project a photo", "Project")
    assert lines[0] == "scalegan project photo.png digits --classes b --out projected"
    page.get_by_role("tab", name="Nearest images").click()
    page.locator(".tabitem:visible input[type=number]").fill("100")
    lines = clicked(seen, "Nearest images", "Look")
    assert lines[0] == "scalegan sample digits --seeds 0-15 --classes b --out samples"
    assert lines[1].startswith("scalegan evaluate samples --data ") and "--nearest nearest.png" in lines[1]
    seen.check()
    assert digests(runs) == before


def test_photos_are_turned_and_faces_recognised(browser: Any, tmp_path: Path) -> None:
    names = ("Male", "Smiling", "Young")
    labelled = Spec("image", (3, 32, 32), attributes=3, label_names=names)
    exported({"game": {"name": "iterative", "width": 2, "hidden": 6, "latent_dim": 4, "norm_group": 4},
              "data": {"labels": "attributes"}}, tmp_path / "faces.safetensors", labelled)
    exported({"game": {"name": "colorization"}, "model": {"name": "unet", "width": 2, "d_width": 2}},
             tmp_path / "colour.safetensors", Spec("image", (3, 32, 32)))
    (tmp_path / "text.jpg").write_text("no picture")
    Image.new("RGB", (40, 40), "red").save(tmp_path / "photo.png")
    with explorer(tmp_path, "colour.safetensors", "faces.safetensors") as address:
        seen = opened(browser, address)
        page = seen.page
        page.get_by_role("tab", name="Turn photos").click()
        files = [tmp_path / "photo.png", tmp_path / "text.jpg"]
        page.locator(".tabitem:visible input[type=file]").set_input_files(files)
        page.locator(".tabitem:visible").get_by_text("text").first.wait_for()
        assert clicked(seen, "Turn photos", "Turn") == [
            "scalegan apply colour.safetensors photo.png text.jpg --network G --out answers"]
        page.get_by_text("text.jpg: it is not one of JPEG").first.wait_for()
        page.get_by_role("tab", name="Faces").click()
        page.locator(".tabitem:visible input[type=file]").set_input_files(tmp_path / "photo.png")
        page.locator(".tabitem:visible").get_by_text("photo").first.wait_for()
        page.get_by_label("Photos are faces already").check()
        assert clicked(seen, "Faces", "Go") == [
            "scalegan faces recognise faces.safetensors photo.png --aligned --out faces"]
        page.get_by_text("photo.png: ").first.wait_for()
        seen.check()


@pytest.mark.parametrize("width", WIDTHS)
def test_it_fits_any_screen(browser: Any, address: str, width: int) -> None:
    seen = opened(browser, address, width)
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
    box = seen.page.locator(".pictures img").first.bounding_box()
    assert box["y"] < WIDTHS[width] and box["width"] > 100, "samples are seen without scrolling"
    seen.check()


def test_wrong_uploads_are_answered(browser: Any, address: str, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no picture")
    Image.new("RGB", (300, 300), "red").save(tmp_path / "whole.jpg")
    (tmp_path / "broken.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:700])
    (tmp_path / "large.png").write_bytes(bytes(30_000_000))
    seen = opened(browser, address)
    page = seen.page
    page.get_by_role("tab", name="Project a photo").click()
    for name in ("text.jpg", "broken.jpg", "large.png"):
        page.locator(".tabitem:visible input[type=file]").set_input_files(tmp_path / name)
        page.locator(".tabitem:visible").get_by_text(name.split(".")[0]).first.wait_for()
        page.get_by_role("button", name="Project", exact=True).click()
        page.get_by_text(f"{name} cannot be read as a photo").first.wait_for()
        page.locator(".tabitem:visible").get_by_label("Clear").first.click()
    assert "Traceback" not in page.content()
    seen.check()


def test_two_visitors_see_their_own(browser: Any, address: str) -> None:
    one, other = opened(browser, address), opened(browser, address)
    one.page.get_by_label("Seeds").first.fill("3")
    other.page.get_by_label("Seeds").first.fill("5,7")
    for seen in (one, other):
        seen.page.get_by_role("button", name="Generate").click()
    for seen, seeds in ((one, "3"), (other, "5,7")):
        seen.page.get_by_text(f"--seeds {seeds} ").first.wait_for()
        seen.check()


def test_a_new_checkpoint_is_shown(browser: Any, address: str, runs: Path) -> None:
    seen = opened(browser, address)
    page = seen.page
    page.get_by_text("digits, 2,560 images").first.wait_for()
    newest = max((runs / "digits" / "checkpoints").iterdir())
    aside = runs / newest.name
    newest.rename(aside)
    try:
        page.get_by_text("digits, 2,112 images").first.wait_for()
    finally:
        aside.rename(newest)
    page.get_by_text("digits, 2,560 images").first.wait_for()
    seen.check()
