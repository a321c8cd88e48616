"""Figures of CLIP-IQA: best and worst by attribute, photos changed on purpose, pairs of folders."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from adapter.errors import ConfigError
from adapter.figures.elements import Section, Strip, short
from adapter.methods.antonyms import ATTRIBUTES
from adapter.methods.clip_iqa import AntonymScale
from adapter.pages.page import Cell, Table
from adapter.pages.plot import Series, plot
from featcache.datasets.base import is_image, safe_relative
from featcache.errors import ImageError
from featcache.images.preprocess import normalize, read_image
from featcache.wording import quantity

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from adapter.figures.elements import Materials
    from adapter.methods.method import Array
    from adapter.reproduction.figure import Attributes, Pairs, Variations
    from adapter.reproduction.sources import Source
    from featcache.backbone import Backbone


def attributes(kind: Attributes, materials: Materials) -> list[Section]:
    """Show the best and the worst test images by each pair of opposite prompts."""
    data, rows, _ = materials.test_rows(kind.task)
    pooled = data.source.vectors.of("pooled", rows)
    sections = []
    for name in kind.names:
        scores = scale_of(data.source, name).scores(pooled)
        order = np.argsort(-scores, kind="stable")
        ends = {"highest": order[: kind.count], "lowest": order[::-1][: kind.count]}
        high, low = ATTRIBUTES[name]
        sections.append(
            Section(
                title=f"{name}: “{high}” / “{low}”",
                strips=[
                    Strip(
                        title=title,
                        tiles=[
                            materials.pictures.tile(data, rows[n], short(scores[n])) for n in chosen
                        ],
                    )
                    for title, chosen in ends.items()
                ],
            )
        )
    return sections


def scale_of(source: Source, name: str) -> AntonymScale:
    """Return CLIP-IQA's scale of an attribute, 0 ... 1."""
    prompts = source.text.encode(ATTRIBUTES[name]).cpu().numpy()
    return AntonymScale.of(prompts, source.text.logit_scale, (0.0, 1.0))


def _noisy(image: Image.Image, degree: float) -> Image.Image:
    pixels = np.asarray(image, np.float64)
    noise = np.random.default_rng(0).normal(0, 60 * degree, pixels.shape)
    return Image.fromarray((pixels + noise).clip(0, 255).astype(np.uint8))


# Attribute -> the change that lowers it, by a degree from 0 (none) to 1.
CHANGES: Mapping[str, Callable[[Image.Image, float], Image.Image]] = {
    "brightness": lambda image, d: ImageEnhance.Brightness(image).enhance(1 - 0.8 * d),
    "noisiness": _noisy,
    "colorfulness": lambda image, d: ImageEnhance.Color(image).enhance(1 - d),
    "sharpness": lambda image, d: image.filter(ImageFilter.GaussianBlur(8 * d)) if d else image,
    "contrast": lambda image, d: ImageEnhance.Contrast(image).enhance(1 - 0.9 * d),
}


def variations(kind: Variations, materials: Materials) -> list[Section]:
    """Change photos on purpose, step by step, and follow the score that should fall."""
    data, rows, _ = materials.test_rows(kind.task, kind.images)
    source = data.source
    tiles = [materials.pictures.tile(data, row, "") for row in rows]
    degrees = np.linspace(0, 1, kind.steps)
    total = len(rows) * len(CHANGES) * kind.steps
    series, table, done = [], [], 0
    for name, change in CHANGES.items():
        scale, found = scale_of(source, name), np.empty((len(rows), kind.steps))
        for n, tile in enumerate(tiles):
            file = safe_relative(source.reader.root, tile.path)
            with Image.open(file) as opened:
                image = ImageOps.exif_transpose(opened).convert("RGB")
            for step, degree in enumerate(degrees):
                pooled = embed(source.backbone, change(image, float(degree)))
                found[n, step] = scale.scores(pooled)[0]
                done += 1
                materials.on_progress(done, total)
        means = found.mean(axis=0)
        series.append(Series(name=name, x=degrees, y=means, form="line"))
        falls = float((found[:, -1] < found[:, 0]).mean())
        texts = [f"{means[0]:.3f}", f"{means[-1]:.3f}", f"{100 * falls:.0f} %"]
        table.append((name, [Cell(text=text, best=False) for text in texts]))
    drawn = plot(series, x_label="degree of the change", y_label="score of the attribute")
    columns = ["attribute", "unchanged", "most changed", "photos whose score falls"]
    return [
        Section(
            title=f"{quantity(len(rows), 'photo')}, changed in {len(CHANGES)} respects",
            text="Darker, noisier, duller, blurrier, flatter; the mean score of each attribute "
            "under its own change.",
            plots=[drawn],
            table=Table(columns=columns, rows=table),
        )
    ]


def pairs(kind: Pairs, materials: Materials) -> list[Section]:
    """Compare the scores of two folders with the same names.

    Raises:
        ConfigError: No folders are given, or they have no name in common.
    """
    if materials.pairs is None:
        raise ConfigError(
            "this figure needs two folders with the same file names, such as inputs and outputs "
            "of a restoration: --pairs LOW HIGH"
        )
    low, high = materials.pairs
    common = sorted(_images(low) & _images(high))
    source = next(iter(materials.tasks.values())).source
    names, first, second = [], [], []
    for done, name in enumerate(common):
        try:
            both = [_pooled(source.backbone, folder / name) for folder in (low, high)]
        except ImageError:  # its pair has nothing to be compared with
            continue
        finally:
            materials.on_progress(done + 1, len(common))
        names.append(name)
        first.append(both[0])
        second.append(both[1])
    if not names:
        raise ConfigError(f"{low} and {high} have no readable image with the same name")
    vectors = [np.concatenate(first), np.concatenate(second)]  # [n, E] each
    scores = {
        name: [scale_of(source, name).scores(pooled) for pooled in vectors] for name in kind.names
    }
    table = []
    for name, (lower, higher) in scores.items():
        texts = [f"{lower.mean():.3f}", f"{higher.mean():.3f}"]
        texts.append(f"{100 * float((higher > lower).mean()):.0f} %")
        table.append((name, [Cell(text=text, best=False) for text in texts]))
    shown = kind.names[0]
    strips = [
        Strip(
            title=f"{title}, and their {shown}",
            tiles=[
                materials.pictures.file(folder, name, short(scores[shown][side][n]))
                for n, name in enumerate(names[: kind.count])
            ],
        )
        for side, (title, folder) in enumerate((("low", low), ("high", high)))
    ]
    columns = ["attribute", "low", "high", "pairs in the right order"]
    return [
        Section(
            title=quantity(len(names), "pair"),
            strips=strips,
            table=Table(columns=columns, rows=table),
        )
    ]


def embed(backbone: Backbone, image: Image.Image) -> Array:
    """Return the pooled embedding [1, E] of a picture in memory."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return _pooled(backbone, buffer.getvalue())


def _pooled(backbone: Backbone, source: Path | bytes) -> Array:
    """Decode as the extraction does, and encode: float64 [1, E]."""
    import torch

    image = read_image(source, backbone.preprocessing, backbone.device)
    pixels = torch.from_numpy(image.pixels)  # [3, H, W]
    with torch.inference_mode():
        batch = normalize(pixels[None].to(backbone.device), backbone.preprocessing)
        pooled = backbone.encode_images(batch).pooled  # [1, E]
    return np.asarray(pooled.float().cpu().numpy(), np.float64)


def _images(folder: Path) -> set[str]:
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder")
    return {path.name for path in folder.iterdir() if is_image(path.name)}
