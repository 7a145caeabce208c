"""Run folders as training and evaluating leave them, without training."""

import base64
import json
from pathlib import Path

from scalegan.metrics import results

PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==")


def make_run(folder: Path, lr: float, rows: list[dict], evaluations: list[dict] = ()) -> Path:
    """A run folder with two sample grids, of which the older is damaged."""
    (folder / "samples").mkdir(parents=True)
    (folder / "config.yaml").write_text(f"run_dir: {folder.name}\nseed: 0\noptimizer: {{D: {{lr: {lr}}}}}\n"
                                        "total_images: 2000\n")
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, content in (("000000000000", b"older"), ("000000001000", PNG)):
        (folder / "samples" / f"{name}.png").write_bytes(content)
    for result in evaluations:
        results.append(folder, result)
    return folder


def curve(**figures: float) -> list[dict]:
    """Three reports whose figures rise with the images."""
    return [{"images": images, "seconds": images / 10, "images_per_second": 10.0,
             **{key: value * images for key, value in figures.items()}} for images in (100, 500, 1000)]


def result(fd: float, **changed: object) -> dict:
    """An evaluation, with the given settings changed."""
    further = {key: changed[key] for key in ("standard_errors", "psi", "guidance") if key in changed}
    return {"metrics": {"fd": fd, "kid": fd / 100, "kid_std": 0.5}, "resize": changed.get("resize", "clean"),
            "num_samples": changed.get("num_samples", 2000), "warnings": [], "constants": {}, "images": int(fd * 1000),
            "ema": changed.get("ema"), **further,
            "extractor": {"name": changed.get("extractor", "efflite0"), "sha256": "a" * 64, "official": True},
            "data": {"path": "faces", "content": changed.get("content", "c" * 64), "num_images": 500}}
