import shutil

import pytest
from PIL import Image

from featcache.datasets.miniatures import write

# Images of the miniatures that the readers' tests share: few, and enough for every part.
FEW = {"adience": 80, "hci": 50, "tid2013": 75}


@pytest.fixture(scope="session")
def drawn(tmp_path_factory):
    """Draw the miniature of a data set, once: to be read, never changed."""

    def draw(name):
        folder = tmp_path_factory.getbasetemp() / "miniatures" / name
        return write(name, folder, FEW.get(name, 40))

    return draw


@pytest.fixture
def copied(drawn, tmp_path):
    """Copy the miniature of a data set to a place where it may be changed."""

    def copy(name, *to):
        return shutil.copytree(drawn(name), tmp_path.joinpath(*to), dirs_exist_ok=True)

    return copy


@pytest.fixture
def put(tmp_path):
    """Write files below a fresh root: text where given, else a small image."""

    def write(*images, **texts):
        for number, path in enumerate(images):
            file = tmp_path / path
            file.parent.mkdir(parents=True, exist_ok=True)
            # Named .JPG, .bmp and so on: Pillow takes the format from the suffix.
            Image.new("RGB", (8, 6), (number * 7 % 256, 40, 200)).save(file)
        for path, text in texts.items():
            file = tmp_path / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        return tmp_path

    return write


@pytest.fixture
def agree():
    """Assert what holds for every reader, and return its labels."""

    def check(dataset):
        images, labels = dataset.images(), dataset.labels()
        assert len({image.sample_id for image in images}) == len(images)
        assert all((dataset.root / image.path).is_file() for image in images)
        assert {label.sample_id for label in labels} <= {image.sample_id for image in images}
        assert all(label.split in ("train", "val", "test", "all") for label in labels)
        assert all(label.query.endswith(".") for label in labels)
        keys = [(lab.sample_id, lab.task, lab.query, lab.split, lab.fold) for lab in labels]
        assert len(set(keys)) == len(keys)
        for label in labels:
            if label.distribution is not None:
                assert sum(label.distribution) == pytest.approx(1)
        report = dataset.check()
        assert report.ok, report.lines()
        assert (report.num_images, report.num_labels) == (len(images), len(labels))
        again = type(dataset)(dataset.root)
        assert again.images() == images or dataset.options != again.options
        return labels

    return check
