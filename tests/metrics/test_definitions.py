"""Each metric on features whose value is known, or against the package that defines it."""

import math

import numpy as np
import prdc as reference_prdc
import pytest
import torch
from torch_fidelity import metric_fid, metric_isc, metric_kid, metric_prc

from scalegan.metrics import figures, frechet, inception_score, kernel, manifold, path_length, ssim
from scalegan.metrics.features import SetFeatures
from scalegan.metrics.gaussian import Moments


def drawn(count: int, dim: int = 32, seed: int = 0, shift: float = 0.0) -> torch.Tensor:
    mixing = np.random.default_rng((99, 99)).standard_normal((dim, dim)) / dim**0.5
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((count, dim)) @ mixing + shift).float()


def test_fid_of_gaussians_that_commute_is_the_closed_form() -> None:
    generator = torch.Generator().manual_seed(1)
    basis = torch.linalg.qr(torch.randn(64, 64, generator=generator, dtype=torch.float64))[0]
    first, second = (torch.rand(64, generator=generator, dtype=torch.float64) * 3 for _ in range(2))
    mean1, mean2 = (torch.randn(64, generator=generator, dtype=torch.float64) for _ in range(2))
    expected = (mean1 - mean2).square().sum() + (first.sqrt() - second.sqrt()).square().sum()
    found = frechet.frechet_distance(mean1, basis * first @ basis.T, mean2, basis * second @ basis.T)
    assert found == pytest.approx(float(expected), abs=1e-6)


def test_fid_of_gaussians_that_do_not_commute_is_the_trace_of_a_matrix_root() -> None:
    a, b = (drawn(200, seed=seed).double() for seed in (2, 3))
    first, second = a.T @ a / 200, b.T @ b / 150
    root = torch.linalg.eigvals(first @ second).sqrt().real.sum()
    expected = first.trace() + second.trace() - 2 * root
    zero = torch.zeros(32, dtype=torch.float64)
    assert frechet.frechet_distance(zero, first, zero, second) == pytest.approx(float(expected), abs=1e-9)


@pytest.mark.parametrize("count", [1000, 40])
def test_fid_of_a_set_with_itself_is_zero_even_with_fewer_samples_than_dimensions(count: int) -> None:
    moments = Moments.of(30 * drawn(count, 256) + 100)
    assert abs(frechet.of_moments(moments, moments)) < 1e-3


def test_moments_in_parts_are_those_of_the_whole() -> None:
    vectors = drawn(500) * 3 + 100
    parts = Moments(32)
    for part in vectors.split(7):
        parts.add(part)
    parts = Moments.unpacked(parts.packed(), 32)
    assert parts.count == 500
    np.testing.assert_allclose(parts.mean, vectors.double().mean(0), rtol=1e-12)
    np.testing.assert_allclose(parts.covariance, np.cov(vectors.double().T), rtol=1e-8, atol=1e-9)


def test_fid_is_torch_fidelitys() -> None:
    fakes, reals = drawn(300, 64), drawn(400, 64, 1, 0.2)
    expected = metric_fid.fid_statistics_to_metric(*(metric_fid.fid_features_to_statistics(v) for v in (fakes, reals)),
                                                   verbose=False)["frechet_inception_distance"]
    assert frechet.of_moments(Moments.of(fakes), Moments.of(reals)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("size", [50, 200])
def test_kid_is_torch_fidelitys(size: int) -> None:
    fakes, reals = drawn(300, 64), drawn(400, 64, 1, 0.2)
    expected = metric_kid.kid_features_to_metric(fakes, reals, kid_subset_size=size, verbose=False)
    mean, deviation = kernel.kernel_distance(fakes, reals, subset_size=size)
    assert mean == pytest.approx(expected["kernel_inception_distance_mean"], rel=1e-4)
    assert deviation == pytest.approx(expected["kernel_inception_distance_std"], rel=1e-3)


def test_kid_is_unbiased() -> None:
    """Two samples of one distribution: the mean over 200 draws is within three standard errors of zero."""
    found = np.array([kernel.squared_mmd(drawn(40, seed=2 * i), drawn(60, seed=2 * i + 1)) for i in range(200)])
    assert abs(found.mean()) < 3 * found.std() / math.sqrt(200)
    assert found.min() < 0 < found.max()


def test_inception_score_is_torch_fidelitys() -> None:
    logits = drawn(217, 20) * 3
    expected = metric_isc.isc_features_to_metric(logits)
    mean, deviation = inception_score.inception_score(logits)
    assert mean == pytest.approx(expected["inception_score_mean"], rel=1e-9)
    assert deviation == pytest.approx(expected["inception_score_std"], rel=1e-6)


def test_inception_score_of_even_certain_classes_is_their_number() -> None:
    logits = 50 * torch.eye(10).repeat(200, 1)
    assert inception_score.inception_score(logits, splits=1)[0] == pytest.approx(10, rel=1e-6)


def test_precision_and_recall_are_torch_fidelitys() -> None:
    fakes, reals = drawn(1500, 8), drawn(1300, 8, 1, 0.2)
    precision, recall = metric_prc.calculate_precision_recall_full(fakes, reals, neighborhood=3)
    found = manifold.precision_recall(fakes, reals)
    assert found == {"precision": pytest.approx(precision, abs=1e-6), "recall": pytest.approx(recall, abs=1e-6)}
    assert 0.1 < found["precision"] < 0.99


@pytest.mark.parametrize("neighbours", [3, 5])
def test_prdc_is_the_prdc_package(neighbours: int) -> None:
    fakes, reals = drawn(1500, 8), drawn(1300, 8, 1, 0.2)
    expected = reference_prdc.compute_prdc(reals.numpy(), fakes.numpy(), neighbours)
    found = manifold.prdc(fakes, reals, neighbours)
    assert found == {name: pytest.approx(value, abs=1e-9) for name, value in expected.items()}


def test_nearest_are_the_nearest() -> None:
    queries, among = drawn(20), drawn(3000, seed=4)
    distances, found = manifold.nearest(queries, among, 3)
    expected = torch.cdist(queries.double(), among.double()).topk(3, largest=False)
    assert torch.equal(found, expected.indices)
    np.testing.assert_allclose(distances, expected.values, rtol=1e-5)


def test_ms_ssim_is_one_of_like_images_and_falls_with_noise() -> None:
    images = torch.nn.functional.interpolate(torch.rand(4, 3, 8, 8) * 255, size=(64, 64), mode="bicubic").clamp(0, 255)
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    found = [float(ssim.ms_ssim(images, (images + s * noise).clamp(0, 255)).mean()) for s in (0, 5, 20, 60)]
    assert found[0] == pytest.approx(1, abs=1e-9)
    assert found == sorted(found, reverse=True) and found[-1] < 0.9


def test_ssim_of_constant_images_is_the_luminance_term() -> None:
    """Wang et al. (2004), equation 6, at one scale: contrast and structure of constants are one."""
    x, y = torch.full((1, 1, 12, 12), 100.0), torch.full((1, 1, 12, 12), 150.0)
    c1 = (0.01 * 255) ** 2
    assert ssim.scales_of(12) == 1
    assert float(ssim.ms_ssim(x, y)) == pytest.approx((2 * 100 * 150 + c1) / (100**2 + 150**2 + c1), rel=1e-9)


@pytest.mark.parametrize(("side", "scales"), [(256, 5), (176, 5), (128, 4), (64, 3), (32, 2), (16, 1)])
def test_ms_ssim_has_as_many_scales_as_hold_the_window(side: int, scales: int) -> None:
    assert ssim.scales_of(side) == scales


def test_path_length_leaves_out_the_outer_percentiles() -> None:
    distances = torch.cat([torch.full((98,), 2.0), torch.tensor([-1e6, 1e6])]).double()
    assert path_length.mean_length(torch.cat([distances, torch.full((300,), 2.0).double()])) == pytest.approx(2.0)


def features(vectors: torch.Tensor) -> SetFeatures:
    return SetFeatures(Moments.of(vectors), vectors, vectors, np.arange(len(vectors)))


def test_the_distance_within_each_class_is_that_of_its_members() -> None:
    vectors = torch.cat([drawn(100, 8), drawn(100, 8, 1, 3.0)])
    classes = np.repeat([0, 1], 100)
    alike = figures.by_class(features(vectors), classes, features(vectors), classes)
    assert alike == {0: pytest.approx(0, abs=1e-6), 1: pytest.approx(0, abs=1e-6)}
    swapped = figures.by_class(features(vectors), 1 - classes, features(vectors), classes)
    assert swapped[0] == pytest.approx(swapped[1], rel=1e-9) and swapped[0] > 8 * 3**2 / 2


def test_standard_errors_are_those_of_repeated_experiments() -> None:
    """The bootstrap's estimate is within a factor of two of the figure's spread over fresh sets."""
    reals = features(drawn(400, 4, 1000))
    fresh = [figures.fid(features(drawn(400, 4, i, 0.5)), features(drawn(400, 4, 500 + i)))["fid"] for i in range(60)]
    found = figures.standard_errors(("fid",), features(drawn(400, 4, 0, 0.5)), reals, 1000, 60)["fid"]
    assert found == pytest.approx(np.std(fresh), rel=1.0) and found > np.std(fresh) / 2


def test_asked_for_both_precisions_are_told_apart() -> None:
    fakes, reals = features(drawn(100, 8)), features(drawn(100, 8, 1, 0.5))
    found = figures.of_features(("prc", "prdc"), fakes, reals, 1000)
    assert found["precision"] == manifold.precision_recall(fakes.vectors, reals.vectors)["precision"]
    assert found["prdc_precision"] == manifold.prdc(fakes.vectors, reals.vectors)["precision"]
    assert figures.of_features(("prdc",), fakes, reals, 1000)["precision"] == found["prdc_precision"]


def test_too_few_images_are_said() -> None:
    few, many = features(drawn(20)), features(drawn(2000))
    assert figures.warnings_about(("fid", "kid"), many, many, 1000) == []
    said = figures.warnings_about(("fid", "kid"), few, many, 1000)
    assert len(said) == 2 and "20 samples, fewer than the 32 feature dimensions" in said[0] and "not 1,000" in said[1]
