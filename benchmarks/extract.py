"""Extraction beside its two halves, and decoding of large photos.

    python benchmarks/extract.py rate                    # whole extraction, forward pass, decoding
    python benchmarks/extract.py rate --device cuda --backbone convnext_large_d_320:seed:0
    python benchmarks/extract.py decode                  # photos of 0.3, 2, 12 and 48 megapixels

``rate`` writes JPEG photos of 640 x 480 into a temporary folder and takes turns between three
things: decoding alone, with as many threads as the extraction has; the forward pass alone, on
images in memory; and `extract`, from files to a finished cache. On a GPU the slower half is the
limit. On a processor both halves share the cores, so there the limit is that of doing one after the
other: 1 / (1 / decoding + 1 / forward).

``decode`` reads photos of some sizes with each ``--decode`` and compares speed, pixels at the
backbone's size, and pooled embeddings with those of ``exact``. Photos are drawn with the spectrum
of natural images (amplitude 1 / f) and edges, as JPEG of quality 90.

``--json FILE`` keeps the results; both may use one file.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import figures
import numpy as np
import torch
from PIL import Image, ImageDraw

from featcache.backbone import BackboneSpec, load_backbone
from featcache.datasets import open_dataset
from featcache.extraction.extract import extract
from featcache.extraction.plan import ExtractConfig
from featcache.extraction.rows import encode_views
from featcache.images.preprocess import read_image

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from featcache.backbone import Backbone

PACKAGES = ("torch", "open_clip_torch", "pillow", "numpy")
BACKBONES = ["drawn-scenes-clip", "demo-seeded-vit:seed:0", "ViT-B-32:seed:0"]
FEW, SECONDS = 64, 10  # what an extraction does once, such as tables, must not weigh much
SIZES = {0.3: (640, 480), 2.0: (1632, 1224), 12.0: (4000, 3000), 48.0: (8000, 6000)}


def draw_photo(width: int, height: int, seed: int) -> Image.Image:
    """Draw noise with the spectrum of natural images, and some shapes with sharp edges."""
    generator = np.random.default_rng(seed)
    side = 512
    frequency = np.hypot(*np.meshgrid(np.fft.rfftfreq(side), np.fft.fftfreq(side)))
    frequency[0, 0] = 1
    planes = []
    for _ in range(3):
        phases = np.exp(2j * np.pi * generator.random(frequency.shape))
        plane = np.fft.irfft2(phases / frequency, (side, side))
        planes.append(plane / plane.std())
    shared = 0.8 * planes[0][..., None] + 0.4 * np.stack(planes, axis=2)  # [s, s, 3]
    small = (128 + 45 * shared).clip(0, 255).astype(np.uint8)
    image = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for _ in range(40):
        x, y = generator.random(2) * (width, height)
        size = generator.uniform(0.02, 0.15) * width
        color = tuple(map(int, generator.integers(0, 256, 3)))
        draw.ellipse((x, y, x + size, y + size * generator.uniform(0.3, 1)), fill=color)
    grain = generator.normal(0, 4, (height, width, 1)).astype(np.float32)
    return Image.fromarray((np.asarray(image) + grain).clip(0, 255).astype(np.uint8))


def seconds_of(action: Callable[[], object], device: torch.device) -> float:
    """Time something, up to the end of what it has put onto a GPU."""
    started = time.perf_counter()
    action()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def backbone_of(name: str, device: str, **choices: Any) -> Backbone:
    """Load ``NAME``, or ``NAME:seed:N`` with random weights: speed does not depend on them."""
    model, _, pretrained = name.partition(":")
    spec = BackboneSpec(name=model, pretrained=pretrained, **choices)
    return load_backbone(spec, device=device, precision="auto")


def measure_rate(
    names: Sequence[str],
    device: str,
    images: int | None,
    rounds: int,
    batch_size: int | None,
    decode: str,
) -> dict[str, Any]:
    """Time decoding, forward pass and extraction in turns."""
    rows = []
    for name in names:
        backbone = backbone_of(name, device, decode=decode)
        with tempfile.TemporaryDirectory() as folder:
            rows.append(rate_of(backbone, Path(folder), name, images, rounds, batch_size))
        print(rows[-1], flush=True)
    columns = [
        ("case", "backbone, photos of 640 x 480", ""),
        ("images", "photos", ".0f"),
        ("decode", "decoding alone, images/s", ".1f"),
        ("forward", "forward pass alone, images/s", ".1f"),
        ("extract", "whole extraction, images/s", ".1f"),
        ("limit", "limit, images/s", ".1f"),
        ("ratio", "extraction to limit", ".2f"),
        ("batch_size", "images at once", ".0f"),
        ("peak", "peak memory of the GPU, GiB", ".1f"),
    ]
    return {"columns": columns, "rows": rows}


def save_photos(folder: Path, count: int) -> list[Path]:
    """Save photos as files of their own; only the first eight differ."""
    folder.mkdir()
    files = [folder / f"{number:05d}.jpg" for number in range(count)]
    for number, file in enumerate(files):
        if number < 8:
            draw_photo(640, 480, number).save(file, quality=90)
        else:
            file.write_bytes(files[number % 8].read_bytes())
    return files


def rate_of(
    backbone: Backbone,
    folder: Path,
    name: str,
    images: int | None,
    rounds: int,
    batch_size: int | None,
) -> dict[str, Any]:
    """Take turns between the three; medians over rounds, the ratio the median of each round's."""
    device, preprocessing = backbone.device, backbone.preprocessing
    config = ExtractConfig(batch_size=batch_size)
    found: dict[str, list[float]] = {"decode": [], "forward": [], "extract": [], "ratio": []}
    with ThreadPoolExecutor() as pool:
        save_photos(folder / "few", FEW)
        few = open_dataset("folder", folder / "few")
        started = time.perf_counter()
        summary = extract(few, folder / "warm", backbone, config)
        rate = FEW / (time.perf_counter() - started)
        files = save_photos(folder / "photos", images or max(FEW, round(rate * SECONDS)))
        dataset = open_dataset("folder", folder / "photos")
        size = summary.batch_size
        read = partial(read_image, preprocessing=preprocessing, device=device)
        decoded = [image.pixels for image in pool.map(read, files[: min(size, len(files))])]
        pixels = np.stack(decoded)  # [B, 3, S, S]
        passes = -(-len(files) // len(pixels))

        def forward() -> None:
            for _ in range(passes):
                tokens, _ = encode_views(backbone, pixels, ["original"])
            tokens[0].sum().item()

        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        for turn in range(rounds):
            rate = {
                "decode": len(files) / seconds_of(lambda: list(pool.map(read, files)), device),
                "forward": passes * len(pixels) / seconds_of(forward, device),
                "extract": len(files)
                / seconds_of(
                    partial(extract, dataset, folder / str(turn), backbone, config), device
                ),
            }
            for kind, value in rate.items():
                found[kind].append(value)
            found["ratio"].append(rate["extract"] / limit_of(rate, device))
    row: dict[str, Any] = {kind: statistics.median(values) for kind, values in found.items()}
    how = "" if preprocessing.decode == "exact" else f", --decode {preprocessing.decode}"
    return {
        "case": f"{name}, {preprocessing.size} px, {device}, {backbone.precision}{how}",
        "images": len(files),
        **row,
        "limit": limit_of(row, device),
        "batch_size": size,
        "peak": torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else None,
    }


def limit_of(rate: dict[str, float], device: torch.device) -> float:
    """Return the images/s that nothing can exceed which decodes and computes."""
    if device.type == "cuda":
        return min(rate["decode"], rate["forward"])
    return 1 / (1 / rate["decode"] + 1 / rate["forward"])


def measure_decoding(
    sizes: Sequence[float], name: str, device: str, photos: int, rounds: int
) -> dict[str, Any]:
    """Compare the choices of ``--decode`` by speed, pixels and features."""
    kinds = ["exact", "scaled", *(["gpu"] if device.startswith("cuda") else [])]
    backbone = backbone_of(name, device)
    rows = []
    for megapixels in sizes:
        count = max(2, min(photos, round(photos * 2 / megapixels)))
        with tempfile.TemporaryDirectory() as folder:
            files = []
            for seed in range(count):
                files.append(Path(folder) / f"{seed}.jpg")
                draw_photo(*SIZES[megapixels], seed).save(files[-1], quality=90)
            rows += decoding_of(backbone, kinds, files, megapixels, rounds)
    columns = [
        ("case", "photos", ""),
        ("rate", "decoded, images/s", ".1f"),
        ("faster", "to exact", ".1f"),
        ("mean", "pixels, mean difference of 255", ".2f"),
        ("most", "largest", ".0f"),
        ("cosine", "pooled embedding, cosine to exact", ".4f"),
        ("apart", "two photos, cosine", ".4f"),
    ]
    return {"columns": columns, "rows": rows}


def decoding_of(
    backbone: Backbone, kinds: Sequence[str], files: Sequence[Path], megapixels: float, rounds: int
) -> list[dict[str, Any]]:
    """Read photos of one size in all ways, in turns."""
    ways = {kind: backbone.preprocessing.replace(decode=kind) for kind in kinds}
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    pixels, pooled = {}, {}
    with ThreadPoolExecutor() as pool:
        for turn in range(rounds + 1):
            for kind, preprocessing in ways.items():
                read = partial(read_image, preprocessing=preprocessing, device=backbone.device)
                started = time.perf_counter()
                images = [image.pixels for image in pool.map(read, files)]
                if turn:  # the first is to warm up
                    seconds[kind].append(time.perf_counter() - started)
                pixels[kind] = np.stack(images)  # [n, 3, S, S]
    for kind, values in pixels.items():
        features = encode_views(backbone, values, ["original"])[1][0]  # [n, E]
        vectors = features.double().cpu().numpy()
        pooled[kind] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = []
    for kind in kinds:
        difference = np.abs(pixels[kind].astype(int) - pixels["exact"])
        ratios = [a / b for a, b in zip(seconds["exact"], seconds[kind], strict=True)]
        same = (pooled[kind] * pooled["exact"]).sum(axis=1)  # [n]
        other = (pooled["exact"][:-1] * pooled["exact"][1:]).sum(axis=1)  # [n - 1]
        rows.append(
            {
                "case": f"{megapixels:g} megapixels, --decode {kind}",
                "rate": len(files) / statistics.median(seconds[kind]),
                "faster": statistics.median(ratios),
                "mean": float(difference.mean()),
                "most": int(difference.max()),
                "cosine": float(same.min()),
                "apart": float(other.mean()),
            }
        )
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Measure what was asked for, and add it to the file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path)
    commands = parser.add_subparsers(dest="command", required=True)
    rate = commands.add_parser("rate")
    rate.add_argument(
        "--backbone",
        action="append",
        help=f"NAME or NAME:seed:N; default: {', '.join(BACKBONES)}",
    )
    rate.add_argument(
        "--images", type=int, help=f"default: what an extraction of {SECONDS} seconds does"
    )
    rate.add_argument("--batch-size", default="32", help="a number, or auto")
    rate.add_argument("--decode", default="exact")
    decode = commands.add_parser("decode")
    decode.add_argument("--megapixels", type=float, nargs="+", default=list(SIZES), choices=SIZES)
    decode.add_argument("--backbone", default="drawn-scenes-clip")
    decode.add_argument("--photos", type=int, default=24, help="of up to two megapixels")
    for command in (rate, decode):
        command.add_argument("--device", default="cpu")
        command.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    if given.command == "rate":
        names = given.backbone or BACKBONES
        batch = None if given.batch_size == "auto" else int(given.batch_size)
        table = measure_rate(names, given.device, given.images, given.rounds, batch, given.decode)
    else:
        table = measure_decoding(
            given.megapixels, given.backbone, given.device, given.photos, given.rounds
        )
    figures.show(table, given.json, *PACKAGES)


if __name__ == "__main__":
    main()
