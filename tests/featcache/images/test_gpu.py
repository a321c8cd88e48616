"""What `--decode gpu` does, on the CPU, for which torchvision has the same functions."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from featcache.datasets import open_dataset
from featcache.errors import ConfigError, ImageError
from featcache.extraction.extract import extract
from featcache.extraction.plan import ExtractConfig
from featcache.images import gpu
from featcache.images.decode import TURNED
from featcache.images.gpu import decoder_on, read_jpeg
from featcache.images.preprocess import Preprocessing, read_image
from featcache.reading.cache import Cache

CPU = torch.device("cpu")
PLAIN = Preprocessing(size=32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


@pytest.fixture
def on_cpu(monkeypatch):
    monkeypatch.setattr(gpu, "DEVICES", ("cpu",))


def photo(form: str = "JPEG", mode: str = "RGB", orientation: int = 1, **options) -> bytes:
    """Draw a picture that no turn and no flip leaves as it is."""
    down, across = np.mgrid[0:90, 0:120]
    pixels = np.stack([2 * across, 2 * down, (across + 2 * down) % 256], axis=2).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stream = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(stream, form, exif=exif, **options)
    return stream.getvalue()


def both(data: bytes, **changes):
    """Read a file as ever, and as a GPU would."""
    exact = PLAIN.replace(**changes)
    return read_image(data, exact), read_image(data, exact.replace(decode="gpu"), CPU)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pixels_and_measures_are_nearly_those_of_the_processor(on_cpu, orientation):
    exact, found = both(photo(orientation=orientation, quality=95, subsampling=0))
    assert found.pixels.dtype == np.uint8
    assert found.pixels.flags.c_contiguous
    difference = np.abs(found.pixels.astype(int) - exact.pixels)
    assert difference.max() <= 3  # Pillow rounds between the two passes of resizing
    assert difference.mean() < 0.5
    assert (found.width, found.height, found.sha256) == (exact.width, exact.height, exact.sha256)
    assert (found.width < found.height) == (orientation >= 5)
    assert found.measures == pytest.approx(exact.measures, rel=1e-2)


def test_the_orientation_can_be_left_as_stored(on_cpu):
    exact, found = both(photo(orientation=6), orientation="stored")
    assert (found.width, found.height) == (120, 90)
    assert np.abs(found.pixels.astype(int) - exact.pixels).max() <= 4


def test_all_of_exifs_turns_are_known():
    assert {gpu._turn(torch.zeros(3, 4, 5), turn).shape for turn in TURNED} == {(3, 5, 4)}


@pytest.mark.parametrize(
    "data",
    [
        photo("PNG"),
        photo(mode="CMYK"),
        photo()[:-400],
        photo().replace(b"\xff\xd9", b"\xff\xd9junk"),
    ],
    ids=["png", "cmyk", "cut", "junk"],
)
def test_what_the_gpu_does_not_take_is_read_as_ever(on_cpu, data):
    preprocessing = PLAIN.replace(truncated="pad")
    exact = read_image(data, preprocessing)
    found = read_image(data, preprocessing.replace(decode="gpu"), CPU)
    assert (found.pixels == exact.pixels).all()
    assert found.measures == exact.measures


def test_the_processor_says_why_a_file_is_damaged(on_cpu):
    data = bytearray(photo())
    start = data.index(b"\xff\xda")
    data[start + 4 : start + 12] = bytes(8)
    with pytest.raises(ImageError) as exact:
        read_image(bytes(data), PLAIN)
    with pytest.raises(ImageError) as found:
        read_image(bytes(data), PLAIN.replace(decode="gpu"), CPU)
    assert str(found.value) == str(exact.value)


def test_too_many_pixels_are_refused_before_decoding(on_cpu, monkeypatch):
    monkeypatch.setattr(gpu, "decoder_on", lambda _: None)
    with pytest.raises(ImageError, match="120 x 90 pixels, over the limit of 100"):
        read_image(photo(), PLAIN.replace(decode="gpu", max_pixels=100), CPU)


def test_sums_are_those_of_the_whole_image(monkeypatch):
    monkeypatch.setattr(gpu, "_BLOCK", 7)
    image = torch.randint(0, 256, (3, 5, 9), dtype=torch.uint8)
    sums = gpu._sums(image)
    flat = image.reshape(3, -1).long()
    assert (sums.pixels, list(sums.sums)) == (45, flat.sum(1).tolist())
    assert sums.products == (flat @ flat.T).tolist()


def test_a_device_that_cannot_is_refused_before_the_first_image(tmp_path, tiny_config):
    from featcache.backbone import BackboneSpec, load_backbone

    spec = BackboneSpec(model_config=str(tiny_config), pretrained="seed:0", decode="gpu")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.jpg").write_bytes(photo())
    dataset = open_dataset("folder", tmp_path / "photos")
    with pytest.raises(ConfigError, match="--decode gpu needs an NVIDIA GPU, and this runs on cpu"):
        extract(dataset, tmp_path / "cache", load_backbone(spec))
    assert not (tmp_path / "cache/cache.json").exists()
    with pytest.raises(ConfigError, match="--decode scaled"):
        decoder_on(None)


def test_a_cache_of_photos_that_a_gpu_decodes(on_cpu, tmp_path, tiny_config, tiny_backbone):
    from featcache.backbone import BackboneSpec, load_backbone

    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.jpg").write_bytes(photo(quality=95, subsampling=0))
    (tmp_path / "photos/b.png").write_bytes(photo("PNG"))
    (tmp_path / "photos/c.jpg").write_bytes(b"\xff\xd8no photo")
    dataset = open_dataset("folder", tmp_path / "photos")
    config = ExtractConfig(max_failures=1.0)
    spec = BackboneSpec(model_config=str(tiny_config), pretrained="seed:0", decode="gpu")
    summary = extract(dataset, tmp_path / "gpu", load_backbone(spec), config)
    assert (summary.images, summary.failed) == (2, 1)
    extract(dataset, tmp_path / "exact", tiny_backbone, config)
    found, exact = Cache.open(tmp_path / "gpu"), Cache.open(tmp_path / "exact")
    assert found.manifest.fingerprint.preprocessing["decode"] == "gpu"
    assert found.fingerprint != exact.fingerprint
    np.testing.assert_allclose(found.pooled([0, 1]), exact.pooled([0, 1]), atol=0.05)


def test_a_file_is_read_by_itself(on_cpu):
    found = read_jpeg(
        photo(),
        device=CPU,
        target=lambda width, height: (width // 2, height // 3),
        interpolation="bilinear",
        upright=True,
        max_pixels=1_000_000,
    )
    assert found is not None
    assert found.pixels.shape == (3, 30, 60)
