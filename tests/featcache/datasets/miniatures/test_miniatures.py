import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from scipy.stats import spearmanr

from featcache.datasets import names as known
from featcache.datasets import open_dataset
from featcache.datasets.miniatures import names, seed_of, write
from featcache.datasets.miniatures.draft import Draft
from featcache.datasets.scenes.seeds import MINIATURES, SEEDS
from featcache.datasets.stand_in import MARKER, WORDS
from featcache.errors import DatasetError


def digests(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def pixels(dataset):
    """Each image float64 [H, W, 3], by sample."""
    return {
        image.sample_id: np.asarray(Image.open(dataset.root / image.path).convert("RGB"), float)
        for image in dataset.images()
    }


def trend(dataset, measure, task=None):
    """SRCC of the labels with a measure of the pixels."""
    shown = {sample: measure(image) for sample, image in pixels(dataset).items()}
    labels = [x for x in dataset.labels() if x.fold in (None, 0) and task in (None, x.task)]
    return spearmanr([shown[x.sample_id] for x in labels], [x.value for x in labels]).statistic


def test_every_data_set_with_images_of_its_own_has_one():
    assert set(known()) - set(names()) == {"folder", "table", "demo"}


@pytest.mark.parametrize("name", names())
def test_the_reader_finds_as_many_images_as_were_asked_for(drawn, name):
    dataset = open_dataset(name, drawn(name))
    marker = json.loads((dataset.root / MARKER).read_text())
    assert len(dataset.images()) == marker["images"] >= 40
    report = dataset.check()
    assert report.ok, report.lines()
    assert report.images_unlabeled == 0
    assert report.leaks == ()
    labels = dataset.labels()
    for fold in {label.fold for label in labels}:
        parts = {label.split for label in labels if label.fold == fold}
        assert {"train", "test"} <= parts
    assert dataset.stand_in
    assert WORDS in dataset.title
    assert WORDS in marker["what"]


@pytest.mark.parametrize("name", ["live-itw", "spaq", "koniq10k"])
def test_the_same_bytes_each_time(name, drawn, tmp_path):
    first = drawn(name)
    images = json.loads((first / MARKER).read_text())["images"]
    assert digests(write(name, tmp_path / "again", images)) == digests(first)


def test_a_longer_one_begins_with_the_shorter(drawn, tmp_path):
    longer = digests(write("coco", tmp_path / "coco", 44))
    shorter = digests(drawn("coco"))
    pictures = {path for path in shorter if path.endswith(".jpg")}
    assert all(longer[path] == shorter[path] for path in pictures)


def test_nobody_else_draws_with_their_seeds():
    seeds = {seed_of(name) for name in names()}
    assert seeds <= set(MINIATURES)
    assert seed_of("coco") == seed_of("lvis"), "the same pictures, annotated twice"
    assert len(seeds) == len(names()) - 2
    for who, others in SEEDS.items():
        assert who == "miniatures" or not seeds & set(others), who


# What a label says can be seen, by measures of pixels that know nothing of the drawing.


def test_older_photos_have_less_color(drawn):
    def saturation(image):
        return (image.max(axis=2) - image.min(axis=2)).mean()

    assert trend(open_dataset("hci", drawn("hci")), saturation) > 0.5


def test_flaws_lower_the_score(drawn):
    def roughness(image):
        return np.abs(np.diff(image, axis=1)).mean()

    dataset = open_dataset("tid2013", drawn("tid2013"))
    values = {label.sample_id: label.value for label in dataset.labels() if label.fold == 0}
    seen = {"01": {}, "08": {}}
    for sample, image in pixels(dataset).items():
        if (kind := sample[4:6]) in seen:
            reference = dataset.root / "reference_images" / f"{sample[:3].upper()}.BMP"
            clean = np.asarray(Image.open(reference), float)
            noise, blur = np.abs(image - clean).mean(), roughness(clean) / roughness(image)
            seen[kind][sample] = noise if kind == "01" else blur
    for kind, flaws in seen.items():
        assert len(flaws) >= 10
        scores = [values[sample] for sample in flaws]
        assert spearmanr(list(flaws.values()), scores).statistic < -0.6, kind


def test_what_is_annotated_is_there(drawn):
    shown = {"apple": 0, "broccoli": 1, "book": 2}  # the strongest of red, green and blue
    seen = []
    for split in ("train2017", "val2017"):
        content = json.loads((drawn("coco") / f"annotations/instances_{split}.json").read_text())
        words = {category["id"]: category["name"] for category in content["categories"]}
        files = {image["id"]: image["file_name"] for image in content["images"]}
        assert len(words) == 80
        for item in content["annotations"]:
            word = words[item["category_id"]]
            if word in shown:
                picture = Image.open(drawn("coco") / split / files[item["image_id"]])
                x, y, width, height = item["bbox"]
                middle = (x + width / 3, y + height / 3, x + width / 1.5, y + height / 1.5)
                color = np.asarray(picture.crop(tuple(map(int, middle))), float).mean(axis=(0, 1))
                seen.append(color.argmax() == shown[word])
    assert len(seen) > 20
    assert np.mean(seen) > 0.9


# Whole, or not at all; never over something else.


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"mine")
    with pytest.raises(DatasetError, match="holds something else"):
        write("ava", tmp_path, 20)
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]
    with pytest.raises(DatasetError, match="is a file"):
        write("ava", tmp_path / "photo.jpg", 20)


def test_the_same_miniature_is_kept_and_another_refused(drawn):
    folder = drawn("ava")
    before = (folder / "AVA.txt").stat().st_mtime_ns
    assert write("ava", folder, 40) == folder
    assert (folder / "AVA.txt").stat().st_mtime_ns == before
    with pytest.raises(DatasetError, match="holds a miniature of ava with 40 images"):
        write("ava", folder, 41)
    with pytest.raises(DatasetError, match="holds a miniature of ava"):
        write("koniq10k", folder, 40)


def test_a_failure_leaves_nothing(tmp_path, monkeypatch):
    def fail(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(Draft, "lines", fail)
    with pytest.raises(KeyboardInterrupt):
        write("ava", tmp_path / "data" / "ava", 20)
    assert list((tmp_path / "data").iterdir()) == []


@pytest.mark.parametrize("count", [0, 39, 17_471])
def test_a_number_that_does_not_fit_is_refused(tmp_path, count):
    with pytest.raises(DatasetError, match="give 40 to 17,470"):
        write("adience", tmp_path / "adience", count)
    assert not list(tmp_path.iterdir())


def test_what_has_no_miniature_is_named(tmp_path):
    with pytest.raises(DatasetError, match="there is no miniature of folder"):
        write("folder", tmp_path)
    with pytest.raises(DatasetError, match="there is no data set 'nothing'"):
        write("nothing", tmp_path)


def test_drawing_needs_no_torch():
    code = (
        "import sys, tempfile, pathlib;"
        "from featcache.datasets.miniatures import write;"
        "write('para', pathlib.Path(tempfile.mkdtemp()) / 'x', 10);"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
