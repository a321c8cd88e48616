import json
from pathlib import Path

import pytest

from featcache.datasets import open_dataset
from featcache.datasets.stand_in import MARKER, StandIn, is_marked, read_marker
from featcache.errors import DatasetError


def mark(folder, **options):
    folder.mkdir(parents=True, exist_ok=True)
    stand_in = StandIn(dataset="hci", images=25, options=options)
    (folder / MARKER).write_text(json.dumps(stand_in.to_dict("HCI")))
    return stand_in


def test_what_is_written_is_read(tmp_path):
    assert read_marker(tmp_path) is None
    assert read_marker(tmp_path) is None
    written = mark(tmp_path, train=3, val=1, test=1)
    assert read_marker(tmp_path) == written


@pytest.mark.parametrize("text", ["{", "[]", '{"dataset": "hci"}', '{"images": "x"}'])
def test_a_damaged_marker_is_named(tmp_path, text):
    (tmp_path / MARKER).write_text(text)
    with pytest.raises(DatasetError, match=MARKER):
        read_marker(tmp_path)


def test_the_mark_is_seen_from_above_and_from_within(tmp_path):
    mark(tmp_path / "data" / "hci")
    (tmp_path / "data" / "hci" / "decade_database" / "1930s").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "data" / "hci" / "decade_database")
    assert is_marked(tmp_path / "data" / "hci", [])
    assert is_marked(tmp_path / "data" / "hci" / "decade_database", [])
    assert is_marked(tmp_path / "link", [])
    assert is_marked(tmp_path / "data", ["hci/decade_database/1930s"])
    assert not is_marked(tmp_path / "data", [])
    assert not is_marked(tmp_path, ["elsewhere"])


def test_its_options_are_the_defaults_of_its_reader_alone(tmp_path):
    mark(tmp_path, train=3, val=1, test=1)
    options = open_dataset("hci", tmp_path, test=2).options
    assert (options["train"], options["val"], options["test"], options["folds"]) == (3, 1, 2, 10)
    assert open_dataset("utkface", tmp_path).options["youngest"] == 21


@pytest.mark.parametrize("root", [".", "photos", "photos/a"])
def test_a_folder_of_drawn_images_is_marked_too(put, tmp_path, root):
    put("photos/a/1.jpg", "photos/b/2.jpg")
    dataset = open_dataset("folder", tmp_path / root)
    assert not dataset.stand_in
    assert dataset.title == "Folder of images"
    mark(tmp_path / "photos")
    marked = open_dataset("folder", tmp_path / root)
    assert marked.stand_in
    assert marked.title == "Folder of images (drawn stand-in)"
    assert marked.backbone.name == "drawn-scenes-clip"
    assert open_dataset("folder", Path(__file__).parent).stand_in is False


def test_a_table_of_drawn_images_is_marked_too(put, tmp_path):
    put("photos/1.jpg", **{"labels.csv": "path,query,value\nphotos/1.jpg,age.,3\n"})
    assert not open_dataset("table", tmp_path).stand_in
    mark(tmp_path / "photos")
    assert open_dataset("table", tmp_path).stand_in
