"""Figures on drawn stand-ins, with methods that need no training to speak of."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapter.errors import ConfigError
from adapter.figures.draw import draw
from adapter.methods import ClipIqa, RidgeProbe
from adapter.recipes.figures import FIGURES, load_figure
from adapter.recipes.tasks import AVA, AVA_BRIGHTNESS, AVA_CONTRAST, COCO_REM
from adapter.reproduction.figure import (
    Attributes,
    Distributions,
    Figure,
    Pairs,
    Relevance,
    Sampling,
    Spaces,
    Strips,
    Variations,
    Wishes,
)
from adapter.reproduction.options import Options
from adapter.reproduction.recipe import Recipe, Row
from featcache.backbone import BackboneSpec
from featcache.datasets.miniatures import write

DEMO = BackboneSpec(name="demo-seeded-vit", pretrained="seed:0")
RIDGE = Row(key="ridge", title="Ridge", method=RidgeProbe())
TESTED = 9  # of AVA's ten test photos; one of the stand-in is cut off, as some of the real are
CLIP = Row(key="clip-iqa", title="CLIP-IQA", method=ClipIqa())


class Checker(HTMLParser):
    """Notices tags that are not closed in order, and counts them."""

    void = frozenset({"meta", "br", "link", "img", "rect", "circle", "line", "path", "polyline"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    write("ava", root / "ava", 40)
    write("coco-rem", root / "coco-rem", 48)
    return root


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("out")


@pytest.fixture
def page(data, out):
    def make(kind: Any, tasks: Any, *rows: Row, **options: Any) -> str:
        figure = Figure(
            name="mine",
            title="Mine & yours",
            source="Figure 1 of nowhere",
            recipe=Recipe(
                name="mine",
                title="Mine",
                source="nowhere",
                tasks=tasks,
                rows=rows,
                reference=rows[0].key,
                views=("original",),
            ),
            kind=kind,
            notes=("A note.",),
        )
        drawing = draw(figure, data, out, DEMO, Options(device="cpu"), **options)
        assert drawing.file == out / "figures" / "mine.html"
        text = drawing.file.read_text("utf-8")
        checker = Checker()
        checker.feed(text)
        assert checker.open == []
        assert "<script" not in text
        assert "<h1>Mine &amp; yours</h1>" in text
        assert "<li>A note.</li>" in text
        return text

    return make


def test_truth_above_and_prediction_below(page):
    text = page(Strips(row="ridge", tasks=("ava",), count=5), (AVA,), RIDGE)
    assert text.count("<figure>") == 10
    assert text.index("ground truth") < text.index("prediction</h3>")
    assert f"{TESTED} test images, SRCC" in text
    assert text.count("url(data:image/jpeg;base64,") <= 10


def test_relevance_to_a_count(page):
    kind = Relevance(row="ridge", task="coco-rem", references=(1, 2), count=4, most=1)
    text = page(kind, (COCO_REM,), RIDGE)
    assert text.count("<figure>") == 8
    assert "by the relevance to 2 (SRCC" in text


def test_two_wishes(page):
    kind = Wishes(row="ridge", tasks=("ava-contrast", "ava-brightness"), count=3)
    text = page(kind, (AVA_CONTRAST, AVA_BRIGHTNESS), RIDGE)
    assert text.count("<figure>") == 12
    assert text.count("<circle") == TESTED
    assert "best: both alike, multiplied" in text
    assert "weights 1 and 0.3" in text


def test_best_and_worst_by_opposite_prompts(page):
    text = page(Attributes(task="ava", names=("happiness", "beauty"), count=2), (AVA,), CLIP)
    assert text.count("<figure>") == 8
    assert "“Happy photo.” / “Sad photo.”" in text


def test_photos_that_are_changed_on_purpose(page):
    text = page(Variations(task="ava", images=2, steps=2), (AVA,), CLIP)
    assert text.count("<polyline") == 5
    for name in ("brightness", "noisiness", "colorfulness", "sharpness", "contrast"):
        assert f"<td>{name}</td>" in text


def test_pairs_of_folders(page, data, tmp_path):
    images = next(path.parent for path in sorted((data / "ava").rglob("*.jpg")))
    kind = Pairs(names=("quality",), count=3)
    text = page(kind, (AVA,), CLIP, pairs=(images, images))
    assert text.count("<figure>") == 6
    assert "<td>0 %</td>" in text  # a photo is not better than itself
    with pytest.raises(ConfigError, match="--pairs LOW HIGH"):
        page(kind, (AVA,), CLIP)
    with pytest.raises(ConfigError, match="same name"):
        page(kind, (AVA,), CLIP, pairs=(images, tmp_path))


def test_how_scores_spread_and_are_drawn(page):
    text = page(Distributions(task="ava", rows=("ridge",), bins=8), (AVA,), RIDGE)
    assert text.count("<rect") == 8
    assert text.count("<polyline") == 1
    text = page(Sampling(task="ava", batches=20, bins=6), (AVA,), RIDGE)
    assert text.count("<rect") == 6
    assert "20 batches" in text


def test_three_spaces_and_the_tags_that_fit(page):
    pytest.importorskip("sklearn")
    text = page(Spaces(task="ava", tags=2, shown=3), (AVA,), RIDGE)
    assert text.count('class="plot"') == 3
    assert text.count("<circle") == 3 * TESTED
    assert text.count("<figure>") == 3


def test_missing_data_are_named_and_no_page_is_written(tmp_path):
    drawing = draw(load_figure("figure9"), tmp_path, tmp_path / "out", DEMO, Options(device="cpu"))
    assert drawing.file is None
    assert len(drawing.missing) == 2
    assert not (tmp_path / "out" / "figures").exists()


def test_every_figure_names_rows_and_tasks_that_it_has():
    for name, figure in FIGURES.items():
        assert figure.name == name == figure.recipe.name
        tasks = {task.key for task in figure.recipe.tasks}
        rows = {row.key for row in figure.recipe.rows}
        kind: Any = figure.kind
        wanted = {*getattr(kind, "tasks", ()), *([kind.task] if hasattr(kind, "task") else [])}
        assert wanted <= tasks
        assert {*getattr(kind, "rows", ()), *([kind.row] if hasattr(kind, "row") else [])} <= rows
    with pytest.raises(ConfigError, match="there is no figure 'figure99'"):
        load_figure("figure99")


def test_the_changes_lower_what_they_say():
    from PIL import Image

    from adapter.figures.looks import CHANGES

    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    image = Image.fromarray(pixels)
    for name, change in CHANGES.items():
        same, most = (np.asarray(change(image, d), np.float64) for d in (0.0, 1.0))
        assert np.abs(same - pixels).max() <= 1, name
        assert most.shape == pixels.shape
        assert np.abs(most - pixels).mean() > 5, name
    dark = np.asarray(CHANGES["brightness"](image, 1.0), np.float64)
    assert dark.mean() < 0.3 * pixels.mean()


@pytest.mark.slow
def test_every_figure_is_drawn(tmp_path):
    sizes = {"adience": 40, "hci": 50, "clevr": 40, "lvis": 40, "agiqa-3k": 40, "koniq10k": 40}
    root = Path(tmp_path)
    for name, figure in FIGURES.items():
        for task in figure.recipe.tasks:
            write(task.dataset, root / task.dataset, sizes.get(task.dataset, 48))
        tasks = tuple(replace(task, quick_options={}) for task in figure.recipe.tasks)
        small: Any = replace(figure, recipe=replace(figure.recipe, tasks=tasks))
        for field, value in {"images": 12, "least": 2}.items():
            if hasattr(small.kind, field):
                small = replace(small, kind=replace(small.kind, **{field: value}))
        photos = next(path.parent for path in sorted(root.rglob("*.jpg")))
        drawing = draw(
            small,
            root,
            root / "out",
            DEMO,
            Options(device="cpu", same_model=True),
            quick=True,
            pairs=(photos, photos) if name == "clip-iqa-figure5" else None,
        )
        assert drawing.failed == ()
        assert drawing.file is not None
        assert drawing.file.name == f"{name}-quick.html"
