"""How fast `scalegan monitor` opens: `python tools/monitor_speed.py [--runs 200] [--reports 5000]`.

Makes runs, starts the monitor and a headless Chromium (Playwright, in the extra 'dev'), and prints seconds: until the
table of runs, the first chart, and all charts in the window are there; at the end, until they show every run. On a busy
machine, `chrt -r 10 python tools/monitor_speed.py` (as root) has the cores to itself.
"""

import argparse
import json
import math
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FIGURES = ("loss/G/fake", "loss/D/real", "loss/D/fake", "loss/D/real_logit", "loss/D/fake_logit", "logit_gap/D",
           "grad_norm/G", "grad_norm/D", "diversity", "skipped/G", "skipped/D", "sigma/D.0", "sigma/D.1")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--reports", type=int, default=5000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.runs):
            make_run(Path(folder) / f"run_{number:03d}", number, options.reports)
        command = [sys.executable, "-m", "scalegan", "monitor", folder, "--no-browser", "--port", "0"]
        for last in (False, False, True):       # each time, a monitor that has read nothing
            begun = time.monotonic()
            monitor = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
            try:
                address = monitor.stdout.readline().split()[0]
                print(f"monitor started after {time.monotonic() - begun:.2f} s, then: {opened(address, last)}")
            finally:
                monitor.terminate()
                monitor.wait()
    return 0


def make_run(folder: Path, seed: int, reports: int) -> None:
    draw = random.Random(seed)
    folder.mkdir()
    shutil.copy(ROOT / "recipes" / "quickstart.yaml", folder / "config.yaml")
    with (folder / "metrics.jsonl").open("w") as file:
        for report in range(1, reports + 1):
            values = {name: math.exp(-3 * report / reports) + draw.gauss(0, 0.1) for name in FIGURES}
            file.write(json.dumps({"images": 1000 * report, "seconds": 2.5 * report, "images_per_second": 400.0,
                                   **values}) + "\n")


def opened(address: str, tick_all: bool) -> str:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        begun = time.monotonic()

        def when(selector: str, count: int = 1) -> float:
            page.locator(selector).nth(count - 1).wait_for(state="attached", timeout=120_000)
            return time.monotonic() - begun

        page.goto(address, wait_until="commit")
        found = [when("#table tbody tr"), when(".plot .trace"), when(".plot .trace", 3 * 8)]
        text = "table {:.2f} s, first chart {:.2f} s, all charts {:.2f} s".format(*found)
        if tick_all:
            begun = time.monotonic()
            page.click("#tick-shown")
            text += f"; every run {when('.plot .trace', 3 * page.locator('#table tbody tr').count()):.1f} s"
        browser.close()
    return text


if __name__ == "__main__":
    sys.exit(main())
