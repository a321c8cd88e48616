import json
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from featcache.datasets import open_dataset
from featcache.datasets.clevr import ATTRIBUTES, count_objects
from featcache.datasets.demo import generate
from featcache.datasets.scenes import (
    COLORS,
    MATERIALS,
    MAX_OBJECTS,
    SHAPES,
    draw_scene,
)
from featcache.errors import DatasetError, DatasetNotFoundError
from featcache.images.measures import measure


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "images"
    generate(folder, count=40, seed=3, size=64)
    return folder


def test_attributes_are_those_that_are_drawn():
    assert set(ATTRIBUTES["color"]) == set(COLORS)
    assert set(ATTRIBUTES["material"]) == set(MATERIALS)
    assert set(ATTRIBUTES["shape"]) == set(SHAPES)


def test_generates_itself_once(tmp_path):
    root = tmp_path / "new"
    demo = open_dataset("demo", root, count="20", size=48)
    images = demo.images()
    assert len(images) == 20
    with Image.open(root / images[7].path) as image:
        assert (image.size, image.mode) == ((48, 48), "RGB")
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert open_dataset("demo", root).images() == images
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_pictures_show_what_scenes_json_says(root):
    content = json.loads((root / "scenes.json").read_text())
    for index, scene in enumerate(content["scenes"]):
        pixels, objects = draw_scene(3, index, 64)
        with Image.open(root / "images" / scene["image_filename"]) as image:
            assert np.array_equal(np.asarray(image), pixels)
        assert 1 <= len(objects) <= MAX_OBJECTS
        assert [thing["color"] for thing in scene["objects"]] == [o.color for o in objects]
        for thing in objects:  # inside the picture
            assert thing.radius - 1 <= thing.x <= 63 - thing.radius + 2
            assert thing.radius <= thing.y <= 63 - thing.radius + 2


def test_labels_count_the_objects(root):
    demo = open_dataset("demo", root)
    labels = demo.labels()
    assert len(labels) == 40 * 19
    content = json.loads((root / "scenes.json").read_text())
    values = {(label.sample_id, label.query): label.value for label in labels}
    scene = content["scenes"][5]
    red = sum(thing["color"] == "red" for thing in scene["objects"])
    assert values["demo_000005", "sort images by the number of objects in red."] == red
    cubes = sum((one["material"], one["shape"]) == ("metal", "cube") for one in scene["objects"])
    assert values["demo_000005", "sort images by the number of metal cubes."] == cubes
    for kind, count in (("color", 8), ("material", 2), ("shape", 3), ("material-shape", 6)):
        of_kind = [label for label in labels if label.task == f"count-{kind}"]
        assert len({label.query for label in of_kind}) == count
        total = sum(label.value for label in of_kind if label.sample_id == "demo_000005")
        assert total == len(scene["objects"])


def test_split_is_by_seed_and_disjoint(root):
    splits = {label.sample_id: label.split for label in open_dataset("demo", root).labels()}
    assert Counter(splits.values()) == {"train": 34, "test": 6}
    report = open_dataset("demo", root).check()
    assert report.ok
    assert not report.leaks
    assert (report.num_images, report.num_labels) == (40, 760)


def test_photometric_queries_vary_widely():
    values = [measure(draw_scene(0, index, 64)[0]) for index in range(100)]
    for name, low, high in (
        ("brightness", 0.28, 0.68),
        ("contrast", 0.13, 0.22),
        ("colourfulness", 30, 60),
    ):
        series = [value[name] for value in values]
        assert np.quantile(series, 0.1) < low
        assert np.quantile(series, 0.9) > high


def test_counts_spread_over_more_than_two_values():
    counts = Counter()
    for index in range(100):
        objects = [vars(thing) for thing in draw_scene(0, index, 64)[1]]
        counts.update(value for _, _, value in count_objects(objects))
    assert min(counts[n] for n in (0, 1, 2, 3, 4)) >= 20


def test_refuses_a_folder_of_something_else(tmp_path):
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(DatasetNotFoundError, match="not empty"):
        open_dataset("demo", tmp_path).images()
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]


def test_redraws_what_was_left_unfinished(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "demo_000009.png").write_bytes(b"half")
    (tmp_path / "scenes.json.unfinished").touch()
    assert len(open_dataset("demo", tmp_path, count=3, size=32).images()) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "scenes.json"]
    assert len(list((tmp_path / "images").iterdir())) == 3


def test_a_stop_leaves_nothing(tmp_path):
    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path / "demo", count=3, size=32, progress=stop)
    assert not list(tmp_path.iterdir())


def test_refuses_options_that_contradict_the_folder(root):
    with pytest.raises(DatasetError, match="found size 64, expected 128"):
        open_dataset("demo", root, size=128).images()


def test_check_draws_nothing(tmp_path):
    report = open_dataset("demo", tmp_path / "absent").check()
    assert not report.ok
    assert report.missing
    assert not (tmp_path / "absent").exists()


def test_refuses_impossible_sizes(tmp_path):
    with pytest.raises(DatasetError, match="size >= 32"):
        generate(tmp_path, size=8)


def test_refuses_the_seeds_of_others(tmp_path):
    with pytest.raises(DatasetError, match="seed from 0 to 999999"):
        generate(tmp_path, seed=1_000_000)


def test_an_unknown_attribute_is_an_error():
    with pytest.raises(DatasetError, match="color: found 'pink'"):
        count_objects([{"color": "pink", "material": "metal", "shape": "cube"}])
