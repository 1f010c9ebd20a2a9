"""Every corruption against what it is defined by, written with other libraries or plain loops."""

import colorsys
import io
import itertools
import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage, stats

from ladder_core.attacks.streams import SampleStreams
from ladder_core.corruptions import CORRUPTIONS, SEVERITIES, corrupt, left_out, suitable
from ladder_core.corruptions.weather import _plasma

CPU = torch.device("cpu")
RANDOM = ("gaussian_noise", "shot_noise", "impulse_noise", "motion_blur", "fog")


def streams(count: int, seed: int = 0) -> SampleStreams:
    return SampleStreams.begin(torch.Generator().manual_seed(seed), count, CPU)


def smooth_images(count: int, channels: int, height: int, width: int) -> torch.Tensor:
    """Images with structure, at 8 bits, from 0 to 1."""
    noise = np.random.default_rng(0).random((count, channels, height, width))
    images = ndimage.gaussian_filter(noise, (0, 0, 1.5, 1.5))
    images -= images.min(axis=(1, 2, 3), keepdims=True)
    images /= images.max(axis=(1, 2, 3), keepdims=True)
    return torch.from_numpy(np.rint(images * 255) / 255).float()


def constants(name: str, severity: int, side: int) -> tuple[float, ...]:
    corruption = CORRUPTIONS[name]
    return (corruption.small if side < 64 else corruption.large)[severity - 1]


def corrupted(images: torch.Tensor, name: str, severity: int) -> np.ndarray:
    return corrupt(images, name, severity, streams(len(images))).double().numpy()


@pytest.mark.parametrize(("channels", "height", "width"), [(1, 8, 8), (2, 5, 9), (3, 32, 32), (4, 66, 70)])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_any_image_stays_an_image(name: str, channels: int, height: int, width: int) -> None:
    images = smooth_images(3, channels, height, width)
    kept = images.clone()
    if name not in suitable(channels):
        with pytest.raises(ValueError, match=f"images of {channels} channels"):
            corrupt(images, name, 1, streams(3))
        assert left_out(channels) == (
            f"{name} is left out: it takes 1 or 3 channels, the images have {channels}",
        )
        return
    for severity in SEVERITIES:
        found = corrupt(images, name, severity, streams(3))
        assert found.shape == images.shape
        assert found.dtype == torch.float32
        assert 0 <= found.min() <= found.max() <= 1
    assert torch.equal(images, kept)


@pytest.mark.parametrize("side", [32, 64])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_each_severity_does_more_than_the_last(name: str, side: int) -> None:
    images = smooth_images(40, 3, side, side)
    damage = [np.abs(corrupted(images, name, severity) - images.numpy()).mean() for severity in SEVERITIES]

    if (name, side) in {("fog", 64), ("defocus_blur", 32)}:
        # ImageNet-C's fog fades its detail faster as it thickens; CIFAR-10-C's defocus shrinks its smoothing.
        assert damage[-1] > damage[0] > 0
    else:
        assert damage == sorted(damage)
        assert damage[0] > 0


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_sample_does_not_depend_on_its_batch(name: str) -> None:
    images = smooth_images(12, 3, 16, 20)
    whole = corrupt(images, name, 3, streams(12))

    generator = torch.Generator().manual_seed(0)
    parts = [
        corrupt(part, name, 3, SampleStreams.begin(generator, len(part), CPU)) for part in images.split(5)
    ]

    torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_only_what_is_random_depends_on_the_stream(name: str) -> None:
    images = smooth_images(1, 3, 32, 32)
    first, second = (corrupt(images, name, 4, streams(1, seed)) for seed in (0, 1))

    assert torch.equal(first, second) == (name not in RANDOM)


@pytest.mark.parametrize("side", [32, 64])
@pytest.mark.parametrize("severity", [1, 5])
def test_gaussian_noise_has_its_deviation(side: int, severity: int) -> None:
    grey = torch.full((30, 3, side, side), 0.5)
    (deviation,) = constants("gaussian_noise", severity, side)
    noise = corrupted(grey, "gaussian_noise", severity) - 0.5

    expected = np.clip(stats.norm.ppf(np.linspace(1e-6, 1 - 1e-6, 200_001)) * deviation, -0.5, 0.5)
    assert noise.mean() == pytest.approx(0, abs=4 * deviation / math.sqrt(noise.size))
    assert noise.std() == pytest.approx(expected.std(), rel=0.01)


@pytest.mark.parametrize(
    ("level", "severity", "side"), [(0, 5, 64), (64, 5, 64), (100, 1, 64), (200, 5, 32), (128, 1, 32)]
)
def test_shot_noise_is_poissons(level: int, severity: int, side: int) -> None:
    (photons,) = constants("shot_noise", severity, side)
    images = torch.full((40, 1, side, side), level / 255)
    counts = np.rint(corrupted(images, "shot_noise", severity) * photons).astype(int)

    mean = level / 255 * photons
    values, found = np.unique(counts[counts < photons], return_counts=True)
    expected = stats.poisson.pmf(values, mean) * counts.size
    likely = expected > 10
    squares = ((found - expected)[likely] ** 2 / expected[likely]).sum()
    assert counts.mean() == pytest.approx(
        np.minimum(stats.poisson.rvs(mean, size=10**6), photons).mean(), rel=0.01
    )
    assert stats.chi2.sf(squares, likely.sum()) > 1e-3


@pytest.mark.parametrize("severity", SEVERITIES)
def test_impulse_noise_salts_and_peppers_its_share(severity: int) -> None:
    images = torch.full((60, 3, 32, 32), 0.5)
    (share,) = constants("impulse_noise", severity, 32)
    found = corrupted(images, "impulse_noise", severity)

    tolerance = 4 * math.sqrt(share / 2 / found.size)
    assert (found == 1).mean() == pytest.approx(share / 2, abs=tolerance)
    assert (found == 0).mean() == pytest.approx(share / 2, abs=tolerance)
    assert ((found == 0.5) | (found == 1) | (found == 0)).all()


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("side", [9, 64])
def test_gaussian_blur_is_scipys(side: int, severity: int) -> None:
    images = smooth_images(2, 3, side, side + 3)
    (deviation,) = constants("gaussian_blur", severity, side)
    expected = ndimage.gaussian_filter(
        images.double().numpy(), (0, 0, deviation, deviation), mode="nearest", truncate=4
    )

    np.testing.assert_allclose(corrupted(images, "gaussian_blur", severity), expected, atol=1e-6)


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("side", [7, 32, 64])
def test_defocus_blur_is_a_smoothed_disk(side: int, severity: int) -> None:
    """The disk on an array as large as the authors', and scipy's filters, which mirror as OpenCV's do."""
    radius, smoothing = constants("defocus_blur", severity, side)
    half, edge = (8, 1) if radius <= 8 else (int(radius), 2)
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    disk = (x**2 + y**2 <= radius**2) / (x**2 + y**2 <= radius**2).sum()
    taps = np.exp(-(np.arange(-edge, edge + 1) ** 2) / (2 * smoothing**2))
    for axis in (0, 1):
        disk = ndimage.correlate1d(disk, taps / taps.sum(), axis=axis, mode="mirror")
    images = smooth_images(2, 2, side, side + 3)
    expected = ndimage.correlate(images.double().numpy(), disk[None, None], mode="mirror")

    np.testing.assert_allclose(corrupted(images, "defocus_blur", severity), expected, atol=2e-6)


@pytest.mark.parametrize(("severity", "side"), [(1, 32), (5, 32), (3, 64), (5, 64)])
def test_motion_blur_follows_its_line(severity: int, side: int) -> None:
    """ImageMagick's MotionBlurImage, pixel by pixel along each sample's line."""
    images = smooth_images(3, 1, side, side + 2)
    radius, deviation = constants("motion_blur", severity, side)
    angles = (2 * streams(3).uniform().double().numpy() - 1) * math.pi / 4
    weights = np.exp(-(np.arange(2 * radius + 1) ** 2) / (2 * deviation**2))
    assert np.unique(np.sign(angles)).tolist() == [-1, 1]
    found = corrupted(images, "motion_blur", severity)

    points = np.random.default_rng(0).integers(side, size=(100, 2))
    for (sample, angle), (y, x) in itertools.product(enumerate(angles), points):
        expected = 0.0
        for step, weight in enumerate(weights / weights.sum()):
            down, right = math.ceil(step * math.sin(angle) - 0.5), math.ceil(step * math.cos(angle) - 0.5)
            place = min(max(y + down, 0), side - 1), min(max(x + right, 0), side + 1)
            expected += weight * float(images[sample, 0, *place])
        assert found[sample, 0, y, x] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize(("height", "width"), [(8, 8), (32, 28), (70, 64)])
def test_pixelating_is_pillows_box_filter(height: int, width: int, severity: int) -> None:
    images = smooth_images(2, 1, height, width)
    (share,) = constants("pixelate", severity, min(height, width))
    expected = np.stack(
        [
            np.asarray(
                Image.fromarray(image[0])
                .resize((int(width * share), int(height * share)), Image.Resampling.BOX)
                .resize((width, height), Image.Resampling.BOX)
            )
            for image in images.numpy()
        ]
    )

    np.testing.assert_allclose(corrupted(images, "pixelate", severity)[:, 0], expected, atol=1e-6)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_brightness_raises_the_value_of_hsv(severity: int) -> None:
    images = smooth_images(1, 3, 6, 6)
    images[0, :, 0, 0] = 0  # black has neither hue nor saturation to keep
    (added,) = constants("brightness", severity, 6)
    found = corrupted(images, "brightness", severity)

    for y, x in itertools.product(range(6), repeat=2):
        hue, saturation, value = colorsys.rgb_to_hsv(*images[0, :, y, x].tolist())
        expected = colorsys.hsv_to_rgb(hue, saturation, min(1.0, value + added))
        assert found[0, :, y, x] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("side", [16, 64])
@pytest.mark.parametrize("severity", SEVERITIES)
def test_contrast_keeps_the_mean_and_shrinks_the_deviation(severity: int, side: int) -> None:
    images = smooth_images(4, 3, side, side).double().numpy()
    (kept,) = constants("contrast", severity, side)
    found = corrupted(torch.from_numpy(images).float(), "contrast", severity)

    np.testing.assert_allclose(found.mean(axis=(2, 3)), images.mean(axis=(2, 3)), atol=1e-6)
    np.testing.assert_allclose(found.std(axis=(2, 3)), kept * images.std(axis=(2, 3)), rtol=1e-5)


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
@pytest.mark.parametrize("severity", [1, 5])
def test_jpeg_is_pillows(channels: int, mode: str, severity: int) -> None:
    images = smooth_images(3, channels, 24, 17)
    (quality,) = constants("jpeg", severity, 17)
    found = corrupted(images, "jpeg", severity)

    for image, ours in zip(images.numpy(), found, strict=True):
        pixels = np.rint(np.moveaxis(image, 0, 2) * 255).astype(np.uint8).squeeze()
        buffer = io.BytesIO()
        Image.fromarray(pixels, mode).save(buffer, "JPEG", quality=quality)
        expected = np.asarray(Image.open(buffer)).reshape(24, 17, channels) / 255
        np.testing.assert_allclose(np.moveaxis(ours, 0, 2), expected, atol=1e-6)


def test_the_cloud_is_the_diamond_square_algorithms() -> None:
    """Point by point, with the same draws: first the middles of squares, then those of diamonds."""
    side, decay, samples = 16, 1.7, 2
    draws = streams(samples)
    heights = np.zeros((samples, side, side))
    step, wibble = side, 100.0
    while step >= 2:
        half, count = step // 2, side // step
        for down, right in ((half, half), (0, half), (half, 0)):
            drawn = draws.uniform(count, count).double().numpy()
            for i, j in itertools.product(range(count), repeat=2):
                y, x = i * step + down, j * step + right
                if down and right:
                    around = [
                        (y - half, x - half),
                        (y - half, x + half),
                        (y + half, x - half),
                        (y + half, x + half),
                    ]
                else:
                    around = [(y - half, x), (y + half, x), (y, x - half), (y, x + half)]
                mean = sum(heights[:, v % side, u % side] for v, u in around) / 4
                heights[:, y, x] = mean + wibble * (2 * drawn[:, i, j] - 1) * wibble
        step, wibble = half, wibble / decay
    heights -= heights.min(axis=(1, 2), keepdims=True)
    heights /= heights.max(axis=(1, 2), keepdims=True)

    np.testing.assert_allclose(_plasma(streams(samples), side, decay).numpy(), heights, atol=1e-5)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_fog_keeps_the_brightest_and_covers_the_rest(severity: int) -> None:
    images = 0.8 * smooth_images(4, 3, 30, 40)
    thickness, decay = constants("fog", severity, 30)
    cloud = _plasma(streams(4), 64, decay)[:, None, :30, :40].numpy()
    brightest = images.amax(dim=(1, 2, 3), keepdim=True).numpy()
    expected = (images.numpy() + thickness * cloud) * brightest / (brightest + thickness)

    found = corrupted(images, "fog", severity)

    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found.max() <= 0.8 + 1e-6


@pytest.mark.parametrize(
    ("name", "severity", "message"),
    [("frost", 1, "'frost'"), ("fog", 0, "severity is 0"), ("fog", 6, "severity is 6")],
)
def test_what_there_is_not_is_refused(name: str, severity: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        corrupt(smooth_images(1, 3, 8, 8), name, severity, streams(1))
