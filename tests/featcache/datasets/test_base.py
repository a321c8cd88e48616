import subprocess
import sys

import pytest

from featcache import datasets
from featcache.datasets import splits
from featcache.datasets.base import Dataset, Option, safe_relative
from featcache.datasets.columns import labels_of
from featcache.datasets.records import Label, cache_bytes
from featcache.errors import DatasetError, DatasetNotFoundError

PAPER = ("adience", "hci", "utkface", "koniq10k", "ava", "coco-rem", "coco", "clevr", "lvis")
OTHERS = ("agiqa-3k", "live-itw", "spaq", "tid2013", "aadb", "para", "folder", "table", "demo")


def test_names():
    assert set(datasets.names()) == {*PAPER, *OTHERS}


@pytest.mark.parametrize("name", [*PAPER, *OTHERS])
def test_info_is_complete(name):
    info = datasets.info(name)
    assert info.name == name
    assert info.title
    assert info.task
    assert info.license
    assert info.source
    assert info.layout.startswith("ROOT/")
    assert all(option.help for option in info.options.values())
    reader = datasets.reader(name)
    assert issubclass(reader, Dataset)
    assert reader.__doc__


def test_cache_size_is_that_of_the_design():
    assert cache_bytes(1) == 100 * 768 * 2
    assert datasets.info("ava").cache_bytes() == pytest.approx(39e9, rel=0.01)
    assert datasets.info("koniq10k").cache_bytes(views=2) == pytest.approx(3.1e9, rel=0.01)
    assert datasets.info("folder").cache_bytes() is None


@pytest.mark.parametrize("name", sorted({*PAPER, *OTHERS} - {"demo"}))
def test_another_folder_gets_an_answer(name, tmp_path):
    (tmp_path / "holiday.txt").touch()
    for root in (tmp_path, tmp_path / "absent"):
        dataset = datasets.open_dataset(name, root)
        with pytest.raises(DatasetNotFoundError) as caught:
            dataset.images()
        assert datasets.info(name).layout in str(caught.value)
        own = datasets.info(name).num_images is None  # nobody else has the user's images
        assert own or datasets.info(name).source in str(caught.value)
        with pytest.raises(DatasetNotFoundError):
            dataset.labels()
        report = dataset.check()
        assert not report.ok
        assert report.missing or report.problems
        assert "expected layout:" in report.lines()


def test_unknown_names_and_options_are_named():
    with pytest.raises(DatasetError, match=r"no data set .imagenet..*koniq10k"):
        datasets.open_dataset("imagenet", ".")
    with pytest.raises(DatasetError, match="hci has no option 'color'; it has folds, seed"):
        datasets.open_dataset("hci", ".", color="red")
    with pytest.raises(DatasetError, match="option folds: found 'ten', expected a value of type"):
        datasets.open_dataset("hci", ".", folds="ten")
    with pytest.raises(DatasetError, match="option scale: found '1-10', expected 0-100 or 1-5"):
        datasets.open_dataset("koniq10k", ".", scale="1-10")


def test_options_take_text_and_defaults():
    assert datasets.open_dataset("hci", ".", folds="3").options["folds"] == 3
    assert datasets.open_dataset("hci", ".", folds=None).options["folds"] == 10
    assert datasets.open_dataset("coco", ".", zeros="True").options["zeros"] is True
    assert datasets.open_dataset("coco", ".", zeros=False).options["zeros"] is False
    with pytest.raises(DatasetError, match="option x: found 'maybe'"):
        Option(help="", kind=bool).parse("x", "maybe")


def test_listing_imports_no_reader_and_no_torch():
    code = (
        "import sys, featcache.datasets as d; d.names(); "
        "sys.exit(any(m in sys.modules for m in "
        "('torch', 'featcache.datasets.base', 'featcache.datasets.ava')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    code = (
        "import sys, featcache.datasets as d; [d.info(n) for n in d.names()]; "
        "sys.exit(any(m in sys.modules for m in ('torch', 'scipy', 'PIL')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "../x", "a/../../x", "a/..", "", ".", "C:/x", "C:x", "a\\..\\x", "\\x", "a\0b"],
)
def test_paths_that_leave_the_root_are_refused(path, tmp_path):
    with pytest.raises(DatasetError):
        safe_relative(tmp_path, path)


def test_paths_inside_the_root(tmp_path):
    assert safe_relative(tmp_path, "a/b.jpg") == tmp_path / "a" / "b.jpg"
    assert safe_relative(tmp_path, "./a..b/c") == tmp_path / "a..b" / "c"
    (tmp_path / "in").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "in", target_is_directory=True)
    assert safe_relative(tmp_path, "link/x") == tmp_path / "link" / "x"


def test_links_that_leave_the_root_are_refused(tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root-2").mkdir()  # a neighbor whose name begins alike
    (tmp_path / "root" / "link").symlink_to(tmp_path / "root-2", target_is_directory=True)
    with pytest.raises(
        DatasetError, match=r"leads to .*, outside .*, or set FEATCACHE_LINKS=follow"
    ):
        safe_relative(tmp_path / "root", "link/x.jpg")


def test_links_that_the_user_trusts_are_followed(tmp_path, monkeypatch):
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link.jpg").symlink_to(tmp_path / "blob")
    monkeypatch.setenv("FEATCACHE_LINKS", "yes")
    with pytest.raises(DatasetError, match="leads to"):
        safe_relative(tmp_path / "root", "link.jpg")
    monkeypatch.setenv("FEATCACHE_LINKS", "follow")
    assert safe_relative(tmp_path / "root", "link.jpg") == tmp_path / "root" / "link.jpg"
    for path in ("../blob", str(tmp_path / "blob")):  # a text that leads out is no link
        with pytest.raises(DatasetError):
            safe_relative(tmp_path / "root", path)


def test_leaks():
    def label(sample, split, fold=None):
        return Label(sample, "t", "q.", 1.0, split, fold)

    def find_leaks(labels, group_of, what):
        return splits.find_leaks(labels_of(labels), group_of, what)

    labels = [label("a", "train", 0), label("b", "test", 0), label("a", "test", 1)]
    same = {"a": "a", "b": "b", "c": "c"}
    assert find_leaks(labels, same, "image") == []
    assert find_leaks(labels, None, "image") == []
    assert find_leaks(labels, {"a": "eve", "b": "eve"}, "person") == [
        "fold 0: 1 times the same person in train and test, e.g. eve"
    ]
    # A label without a fold counts in every fold.
    assert find_leaks([*labels, label("b", "train")], same, "image") == [
        "fold 0: 1 times the same image in train and test, e.g. b"
    ]
    assert find_leaks(
        [label("a", "val"), label("a", "test"), label("c", "all")], same, "image"
    ) == ["1 times the same image in val and test, e.g. a"]


def test_equal_files_on_two_sides_are_found(put):
    root = put("a.png", "b.png")
    (root / "b.png").write_bytes((root / "a.png").read_bytes())
    (root / "t.csv").write_text("path,value,split\na.png,1,train\nb.png,1,test\n")
    table = datasets.open_dataset("table", root)
    assert table.check().leaks == ()
    (leak,) = table.check(contents=True).leaks
    assert "same file content in train and test" in leak
