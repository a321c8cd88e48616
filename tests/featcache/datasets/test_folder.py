import os

import pytest

from featcache.datasets import open_dataset, paths
from featcache.errors import DatasetError, DatasetNotFoundError


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_finds_images_recursively_sorted_and_skips_the_rest(tmp_path):
    touch(tmp_path, "b/2.PNG", "b/10.jpg", "a.jpeg", "B.webp", "notes.txt", ".hidden.jpg")
    touch(tmp_path, ".git/x.jpg", "b/.cache/y.jpg", "b/no_suffix")
    folder = open_dataset("folder", tmp_path)
    assert [image.path for image in folder.images()] == ["B.webp", "a.jpeg", "b/10.jpg", "b/2.PNG"]
    assert all(image.sample_id == image.path for image in folder.images())
    assert folder.labels() == []
    report = folder.check()
    assert report.ok
    assert (report.num_images, report.images_unlabeled, report.images_extra) == (4, 4, 0)


def test_says_what_it_wants(tmp_path):
    with pytest.raises(DatasetNotFoundError, match=r"no folder .*absent"):
        open_dataset("folder", tmp_path / "absent").images()
    with pytest.raises(DatasetNotFoundError, match=r"no images found below"):
        open_dataset("folder", tmp_path).images()
    assert not open_dataset("folder", tmp_path).check().ok
    with pytest.raises(FileNotFoundError):
        open_dataset("folder", tmp_path).images()


def test_links_inside_are_followed_and_outside_refused(tmp_path):
    root = tmp_path / "root"
    touch(root, "a.jpg")
    (root / "b.jpg").symlink_to("a.jpg")
    assert len(open_dataset("folder", root).images()) == 2
    touch(tmp_path, "outside.jpg")
    (root / "c.jpg").symlink_to(tmp_path / "outside.jpg")
    with pytest.raises(DatasetError, match="outside"):
        open_dataset("folder", root).images()
    assert "outside" in open_dataset("folder", root).check().problems[0]


def test_links_to_folders_are_not_followed(tmp_path):
    touch(tmp_path, "a.jpg", "b/c.jpg")
    (tmp_path / "b" / "loop").symlink_to(tmp_path, target_is_directory=True)
    assert [image.path for image in open_dataset("folder", tmp_path).images()] == [
        "a.jpg",
        "b/c.jpg",
    ]


def test_names_that_are_not_ascii(tmp_path):
    touch(tmp_path, "Größe 1.jpg", "日本.png")
    assert len(open_dataset("folder", tmp_path).images()) == 2


def test_root_may_be_a_link(tmp_path):
    touch(tmp_path / "real", "a.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "real", target_is_directory=True)
    assert len(open_dataset("folder", tmp_path / "link").images()) == 1


def test_names_that_are_not_utf8_are_named(tmp_path):
    (tmp_path / "a.jpg").touch()
    bad = os.fsencode(tmp_path) + b"/gr\xfc\xdfe.jpg"
    try:
        os.close(os.open(bad, os.O_CREAT))
    except OSError:
        pytest.skip("this file system takes only UTF-8")
    with pytest.raises(DatasetError, match="is not UTF-8"):
        open_dataset("folder", tmp_path).images()


@pytest.fixture
def without_photos(monkeypatch):
    """As if the extra photos were not installed."""
    monkeypatch.setattr(paths, "find_spec", lambda name: None)
    paths.readable_suffixes.cache_clear()
    yield
    monkeypatch.undo()
    paths.readable_suffixes.cache_clear()


def test_what_needs_the_extra_is_counted_and_says_how_to_get_it(tmp_path, without_photos):
    touch(tmp_path, "a.jpg", "a.CR2", "c.HEIC", "d.heic", "e.jxl")
    folder = open_dataset("folder", tmp_path)
    assert [image.path for image in folder.images()] == ["a.jpg"]
    unreadable, needed = folder.check().notes
    assert "cannot be read here: 1 .jxl; save them" in unreadable
    assert "need one more package: 2 .heic, 1 .cr2; pip install 'featcache[photos]'" in needed


def test_a_raw_file_and_its_jpeg_are_one_photo(tmp_path):
    touch(tmp_path, "1/a.CR2", "1/a.JPG", "2/a.cr2", "b.dng", "c.heic", "c.nef", "d.png", "d.raf")
    folder = open_dataset("folder", tmp_path)
    assert [image.path for image in folder.images()] == [
        *("1/a.JPG", "2/a.cr2", "b.dng", "c.heic", "d.png", "d.raf")
    ]
    [note] = folder.check().notes
    assert note.startswith("2 raw files stand beside a JPEG of the same name")
    apart = open_dataset("folder", tmp_path, pairs="separate")
    assert len(apart.images()) == 8
    assert not apart.check().notes
    with pytest.raises(DatasetError, match="expected merge or separate"):
        open_dataset("folder", tmp_path, pairs="both")


def test_what_is_skipped_is_told_by_kind(tmp_path):
    touch(tmp_path, "a.JPE", "b.jfif", "c.JXL", "d.jxl", "notes.txt", "plain", "._a.jpg")
    touch(tmp_path, "__MACOSX/x.jpg", ".cache/y.jpg")
    (tmp_path / "itself.jpg").symlink_to("itself.jpg")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "gone.png").symlink_to("nowhere.png")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "sub").symlink_to(tmp_path, target_is_directory=True)
    folder = open_dataset("folder", tmp_path)
    assert [image.path for image in folder.images()] == ["a.JPE", "b.jfif"]
    pictures, others = folder.check().notes
    assert pictures == (
        "skipped pictures that cannot be read here: 2 .jxl; save them as JPEG or PNG"
    )
    for part in ("3 broken links", "2 hidden folders", "1 .txt", "1 without a suffix", "1 hidden,"):
        assert part in f"{others},"
    assert "1 links to folders" in others
    assert "1 pipes and devices" in others


def test_only_pictures_of_another_kind(tmp_path):
    touch(tmp_path, "a.jxl")
    with pytest.raises(DatasetNotFoundError, match=r"no images found below.* 1 \.jxl; save them"):
        open_dataset("folder", tmp_path).images()


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    touch(tmp_path, "a.jpg", "closed/b.jpg")
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)  # root may read every folder
    folder = open_dataset("folder", tmp_path)
    assert [image.path for image in folder.images()] == ["a.jpg"]
    assert folder.notes() == [f"a folder could not be read: {tmp_path}/closed: Permission denied"]
