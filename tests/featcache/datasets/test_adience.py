import json

import pytest

from featcache.datasets import open_dataset
from featcache.errors import DatasetError

HEADER = (
    "user_id original_image face_id age gender x y dx dy tilt_ang fiducial_yaw_angle fiducial_score"
).replace(" ", "\t")
REST = "f\t0\t0\t816\t816\t-115\t30\t17"


def row(user, image, face, age):
    return f"{user}\t{image}\t{face}\t{age}\t{REST}"


FOLDS = {
    "fold_0_data.txt": [row("30601258@N03", "100_ab_o.jpg", 1, "(25, 32)")],
    "fold_1_data.txt": [
        row("2@N00", "b.c_o.jpg", 7, "(0, 2)"),
        row("2@N00", "b.c_o.jpg", 7, "(0, 2)"),  # a duplicate row
        row("2@N00", "d.jpg", 8, "None"),
    ],
    "fold_2_data.txt": [row("3@N00", "e.jpg", 9, "35"), row("3@N00", "f.jpg", 9, "(8, 12)")],
    "fold_3_data.txt": [row("4@N00", "g.jpg", 10, "(60, 100)"), row("4@N00", "h.jpg", 1, "58")],
    "fold_4_data.txt": [row("5@N00", "i.jpg", 11, "(25, 23)")],
}
FACES = [
    ("30601258@N03", "1.100_ab_o.jpg"),
    ("2@N00", "7.b.c_o.jpg"),
    ("2@N00", "8.d.jpg"),
    ("3@N00", "9.e.jpg"),
    ("3@N00", "9.f.jpg"),
    ("4@N00", "10.g.jpg"),
    ("4@N00", "1.h.jpg"),
    ("5@N00", "11.i.jpg"),
]


@pytest.fixture
def root(put):
    """A few rows with all that is odd, each face once."""
    images = [f"aligned/{user}/landmark_aligned_face.{name}" for user, name in FACES]
    return put(*images, **{k: "\n".join([HEADER, *v]) + "\n" for k, v in FOLDS.items()})


@pytest.mark.parametrize("images", ["aligned", "faces"])
def test_five_folds(drawn, agree, images):
    root = drawn("adience")
    dataset = open_dataset("adience", root, images=images)
    labels = agree(dataset)
    assert len(labels) == 80 * 5
    assert {label.query for label in labels} == {"sort images by the person's age group."}
    assert {label.value for label in labels} == set(range(8))
    assert {image.path.split("/")[0] for image in dataset.images()} == {images}
    seen = set()
    for fold in range(5):  # a second reading, with nothing of the reader
        rows = [
            line.split("\t") for line in (root / f"fold_{fold}_data.txt").read_text().split("\n")
        ]
        named = {f"{r[0]}/{r[2]}.{r[1][:-4]}" for r in rows[1:-1] if r[3] != "None"}
        of_fold = {label.sample_id: label.split for label in labels if label.fold == fold}
        assert {sample for sample, split in of_fold.items() if split == "test"} == named - seen
        assert len(of_fold) == 80
        seen |= named


def test_groups_and_stray_labels(root):
    values = {label.sample_id: label.value for label in open_dataset("adience", root).labels()}
    assert values == {
        "30601258@N03/1.100_ab_o": 4,
        "2@N00/7.b.c_o": 0,
        "3@N00/9.e": 4,
        "3@N00/9.f": 2,
        "4@N00/10.g": 7,
        "4@N00/1.h": 7,
        "5@N00/11.i": 4,
    }


def test_check_tells_what_was_mapped_and_left_out(root):
    report = open_dataset("adience", root).check()
    assert report.ok
    assert report.leaks == ()
    assert report.images_extra == 1, "the face without an age"
    assert set(report.notes) == {
        "3 rows with a stray age, mapped to a group",
        "1 row without an age, left out",
        "1 row for a face that an earlier row has, left out",
    }


def test_the_authors_split_file_shares_persons(root, tmp_path):
    ids = {
        "train_id": ["landmark_aligned_face.9.e", "landmark_aligned_face.7.b.c_o"],
        "test_id": ["landmark_aligned_face.9.f"],
    }
    (tmp_path / "split.json").write_text(json.dumps(ids))
    dataset = open_dataset("adience", root, split_file=tmp_path / "split.json")
    assert [(label.sample_id, label.split, label.fold) for label in dataset.labels()] == [
        ("2@N00/7.b.c_o", "train", None),
        ("3@N00/9.e", "train", None),
        ("3@N00/9.f", "test", None),
    ]
    (leak,) = dataset.check().leaks
    assert leak == "1 times the same person or scene in train and test, e.g. 3@N00"


def test_an_unknown_age_is_named(put):
    texts = {k: "\n".join([HEADER, *v]) + "\n" for k, v in FOLDS.items()}
    texts["fold_2_data.txt"] = "\n".join([HEADER, row("3@N00", "e.jpg", 9, "(7, 9)")])
    root = put("aligned/3@N00/landmark_aligned_face.9.e.jpg", **texts)
    with pytest.raises(DatasetError, match=r"fold_2_data\.txt, line 2, column age: found '\(7, 9"):
        open_dataset("adience", root).labels()


def test_missing_folds_are_named(put):
    root = put("aligned/3@N00/landmark_aligned_face.9.e.jpg")
    missing = open_dataset("adience", root).check().missing
    assert [item.split(" (")[0] for item in missing] == [f"fold {k}" for k in range(5)]
