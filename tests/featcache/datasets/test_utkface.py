import os
import re
from collections import Counter
from pathlib import Path

import pytest

from featcache.datasets import open_dataset
from featcache.errors import DatasetError, DatasetNotFoundError

NAMES = [f"{age}_{i % 2}_{i % 5}_2017011{i}123456789" for age in (21, 40, 60) for i in range(10)]


@pytest.fixture
def root(put):
    return put(*(f"UTKFace/{name}.jpg.chip.jpg" for name in NAMES), "UTKFace/face.jpg")


def test_ages_21_to_60_split_by_seed(drawn, agree):
    dataset = open_dataset("utkface", drawn("utkface"))
    labels = agree(dataset)
    assert len(labels) == 40
    assert {label.query for label in labels} == {"sort images by the person's age."}
    assert all(label.value == int(label.sample_id.split("_")[0]) for label in labels)
    by_age = Counter((label.value, label.split) for label in labels)
    ages = {label.value for label in labels}
    assert len(ages) == 8
    assert all(21 <= age <= 60 for age in ages)
    assert all(by_age[age, "test"] == 1 and by_age[age, "train"] == 4 for age in ages)
    notes = dataset.check().notes
    assert "there more than once: 5 faces" in notes
    assert "split: seed 0, one face in five of each age" in notes


def test_odd_names(copied):
    root = copied("utkface")
    for name in ("face", "999_0_0_20170110225243501", "39_1_20170116174525125"):
        next((root / "UTKFace").glob("21_*")).rename(root / "UTKFace" / f"{name}.jpg")
    notes = open_dataset("utkface", root).check().notes
    assert "no age in the name: 2 images" in notes
    assert "no gender or race in the name, only the age is used: 1 image" in notes


def test_parts_of_the_wild_images(put):
    root = put("part1/21_0_0_20170116.jpg", "part2/x/22_0_0_20170117.jpg")
    paths = [image.path for image in open_dataset("utkface", root).images()]
    assert paths == ["part1/21_0_0_20170116.jpg", "part2/x/22_0_0_20170117.jpg"]


def test_all_ages_on_demand(drawn):
    dataset = open_dataset("utkface", drawn("utkface"), youngest=0, oldest=116)
    assert len(dataset.images()) == 40 + 6
    with pytest.raises(DatasetError, match=r"found ages 30 \.\.\. 20"):
        open_dataset("utkface", drawn("utkface"), youngest=30, oldest=20).images()


@pytest.mark.parametrize("form", ["coral", "mivolo"])
def test_published_tables_are_used(root, form):
    if form == "coral":
        lines = {
            "utk_train.csv": [",file,age", f"1,{NAMES[0]}.jpg.chip.jpg,0"],
            "utk_test.csv": [",file,age", f"3,{NAMES[12]}.jpg.chip.jpg,19", "4,1_1_1_1.jpg,9"],
        }
    else:
        box = "0,0,9,9,-1,-1,-1,-1"
        header = "img_name,age,gender,face_x0,face_y0,face_x1,face_y1"
        header += ",person_x0,person_y0,person_x1,person_y1"
        lines = {
            "annotation/utk_train.csv": [header, f"UTKFace/{NAMES[0]}.jpg,21,M,{box}"],
            "annotation/utk_valid.csv": [header, f"{NAMES[12]}.jpg,40,F,{box}", f"q.jpg,1,F,{box}"],
        }
    for name, text in lines.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("\n".join(text))
    dataset = open_dataset("utkface", root)
    assert [(label.sample_id, label.split) for label in dataset.labels()] == [
        (NAMES[0], "train"),
        (NAMES[12], "test"),
    ]
    notes = dataset.check().notes
    assert notes[0] == f"split: {', '.join(sorted(lines))}"
    assert notes[1] == "not here: 1 face of it"


def test_no_face(put):
    with pytest.raises(DatasetNotFoundError, match="AGE_GENDER_RACE_TIME"):
        open_dataset("utkface", put("a.jpg")).images()


@pytest.mark.shared
def test_the_real_sample(agree):
    if not (shared := os.environ.get("FEATCACHE_SHARED")):
        pytest.skip("FEATCACHE_SHARED is not set")
    root = Path(shared) / "data" / "utkface_sample"
    dataset = open_dataset("utkface", root, youngest=0, oldest=116)
    labels = agree(dataset)
    # A second reading: from the names by another route, with nothing of the reader.
    names = os.listdir(root)  # noqa: PTH208
    ages = [int(re.split("_", name, maxsplit=1)[0]) for name in names if name.endswith(".jpg")]
    assert len(labels) == len(dataset.images()) == len(ages) == 2401
    assert Counter(label.value for label in labels) == Counter(map(float, ages))
    by_path = {image.path: image.sample_id for image in dataset.images()}
    values = {label.sample_id: label.value for label in labels}
    assert all(values[by_path[name]] == int(name[: name.index("_")]) for name in names)
    test = sum(label.split == "test" for label in labels)
    assert abs(test - 0.2 * 2401) < 60
    default = open_dataset("utkface", root).labels()
    assert len(default) == sum(21 <= age <= 60 for age in ages)


def test_names_in_the_wild_that_lack_a_field(put):
    names = ("53__0_20170116184028385", "39_1_20170116174525125", "44_3_20170109150557335")
    root = put(*(f"{name}.jpg" for name in names), "30_2017011.jpg", "31_7_20170116.jpg")
    dataset = open_dataset("utkface", root)
    assert {label.sample_id: label.value for label in dataset.labels()} == dict(
        zip(names, (53.0, 39.0, 44.0), strict=True)
    )
    assert "no age in the name: 2 images" in dataset.check().notes


def test_what_macos_packs_beside_the_tables_is_not_read(root):
    (root / "utk_train.csv").write_text("file,age\n" + "\n".join(f"{n},0" for n in NAMES[1:]))
    (root / "utk_test.csv").write_text(f"file,age\n{NAMES[0]},0\n")
    (root / "._utk_test.csv").write_bytes(b"\x00\x05\x16\x07")
    assert {label.split for label in open_dataset("utkface", root).labels()} == {"train", "test"}
