"""The page in a browser, every part of it by clicking, while a run goes on."""

import threading
from pathlib import Path
from typing import Any

import pytest
from browser import WIDTHS, visit
from runs_made import PNG, curve, make_run, result

from scalegan.monitor.server import Server
from scalegan.monitor.watch import Watch

pytestmark = pytest.mark.slow
expect = pytest.importorskip("playwright.sync_api").expect
expect.set_options(timeout=30_000)
MANY = [{"images": images, "loss/G": 7.0 * images} for images in range(1, 1001)]
HOSTILE = "<img src=x onerror=console.error(1)>"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten runs: one that goes on, one whose name would do harm as HTML, and one that skipped updates."""
    for number in range(7):
        make_run(tmp_path / f"run {number}", 1e-3 * (number + 1), MANY if number == 6 else
                 curve(**{"loss/G": 1.0 + number, "sigma/D.0": 1.0}),
                 [result(20.0 + number), result(10.0 + number)])
    make_run(tmp_path / HOSTILE, 2e-3, curve(**{"loss/G": -2.0, HOSTILE: 1.0}), [result(30.0, resize="tf1-bilinear")])
    make_run(tmp_path / "skips", 2e-3, [*curve(**{"loss/G": 2.0}), {"images": 1100, "skipped/D": 3}])
    make_run(tmp_path / "last", 2e-3, curve(**{"loss/G": 2.0}))
    return tmp_path


@pytest.fixture
def address(server: Server) -> str:
    return server.address


def curves(page: Any) -> Any:
    """The curves of the first chart."""
    return page.locator(".plot").first.locator(".scatterlayer .trace")


def test_every_part_by_clicking(folder: Path, address: str, browser: Any) -> None:
    visited = visit(browser, address)
    page = visited.page
    page.wait_for_selector(".plot .scatterlayer .trace")
    names = page.locator("#table tbody .plain")
    assert page.locator("#summary").inner_text() == "10 runs: 10 not running" and names.count() == 10

    # the table: sorted, filtered, ticked, opened
    page.locator("#figure").select_option("loss/G")
    page.locator("th button", has_text="loss/G").click()
    assert names.first.inner_text() == HOSTILE
    page.locator("th button", has_text="loss/G").click()
    assert names.first.inner_text() == "run 6"
    page.fill("#filter", "skips")
    assert names.all_inner_texts() == ["skips"] and "3 skipped" in page.locator("#table tbody").inner_text()
    names.first.click()
    assert "of images" in page.locator("#table tbody").inner_text()
    page.click("#tick-none")
    page.click("#tick-shown")
    expect(curves(page)).to_have_count(1)
    page.fill("#filter", "")
    page.locator("#table tbody input").first.check()
    expect(curves(page)).to_have_count(2)
    page.click("#tick-shown")
    expect(curves(page)).to_have_count(10)

    # curves
    page.get_by_placeholder("Filter figures").fill("loss")
    assert page.locator(".chart figcaption").all_inner_texts() == ["loss/G"]
    page.locator("#smooth").fill("0.9")
    expect(curves(page)).to_have_count(11)      # a long curve and what it is smoothed to
    page.check("#log")
    expect(curves(page)).to_have_count(11)

    # samples
    page.get_by_role("tab", name="Samples").click()
    assert page.locator(".grids figure").count() == 10 and "1,000 images" in page.locator("#panel").inner_text()
    page.locator("#position").fill("0")
    expect(page.locator(".grids p")).to_have_count(10)      # those grids are damaged
    page.get_by_role("button", name="Play").click()
    page.get_by_role("button", name="Pause").wait_for()
    page.wait_for_selector(".grids img")
    page.get_by_role("button", name="Play").wait_for()
    page.locator(".grids img").first.click()
    assert page.locator("dialog").is_visible()
    page.locator("dialog button").click()
    assert not page.locator("dialog").is_visible()

    # recipes, evaluations, health
    page.get_by_role("tab", name="Recipes").click()
    assert page.locator("td.key").all_inner_texts() == ["optimizer.D.lr"]
    page.get_by_role("tab", name="Evaluations").click()
    page.locator(".chart", has_text="kid").scroll_into_view_if_needed()
    expect(page.locator(".plot .errorbar")).not_to_have_count(0)
    text = page.locator("#panel").inner_text()
    assert "0.1 ± 0.5" in text and f"Not side by side: run 0 and {HOSTILE}: resizes differ" in text
    page.get_by_role("tab", name="Health").click()
    assert "3 updates of D skipped" in page.locator("#panel").inner_text()

    # the run goes on
    page.get_by_role("tab", name="Samples").click()
    with (folder / "last" / "metrics.jsonl").open("a") as file:
        file.write('{"images": 1999, "loss/G": 5.0}\n')
    (folder / "last" / "samples" / "000000001999.png").write_bytes(PNG)
    page.locator(".grids", has_text="last, 1,999 images").wait_for()
    make_run(folder / "new", 1e-3, [])
    expect(page.locator("#summary")).to_have_text("11 runs: 11 not running")
    visited.check()


def test_it_fits_phones_and_wide_screens(address: str, browser: Any) -> None:
    visited = visit(browser, address)
    visited.page.wait_for_selector(".plot .scatterlayer .trace")
    for width, height in WIDTHS.items():
        visited.page.set_viewport_size({"width": width, "height": height})
        for tab in ("Samples", "Recipes", "Evaluations", "Health", "Curves"):
            visited.page.get_by_role("tab", name=tab).click()
            visited.page.wait_for_selector("#panel :first-child")
            assert visited.page.evaluate("document.documentElement.scrollWidth") == width, tab
        visited.page.wait_for_selector(".plot .scatterlayer .trace")
    visited.check()


def test_no_runs_yet(tmp_path: Path, browser: Any) -> None:
    with Server(Watch([tmp_path]), "runs", 0) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        visited = visit(browser, server.address)
        expect(visited.page.locator("#summary")).to_have_text("no runs yet")
        visited.check()
        server.shutdown()
