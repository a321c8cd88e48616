import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from featcache.datasets import open_dataset
from featcache.datasets.base import Label
from featcache.errors import DatasetError, DatasetNotFoundError


@pytest.fixture
def root(tmp_path):
    for name in ("a.jpg", "b.jpg", "sub/c.png", "val2017/000000360661.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    return tmp_path


def write(root, text, name="labels.csv"):
    (root / name).write_text(text)
    return root


def test_path_alone(root):
    table = open_dataset("table", write(root, "path\nb.jpg\nsub/c.png\n"))
    assert [image.path for image in table.images()] == ["b.jpg", "sub/c.png"]
    assert table.labels() == []


def test_every_column(root):
    text = (
        "sample_id,path,query,value,task,split,fold,comment\n"
        'A,a.jpg,"sort images by age, please.",31,age,train,0,x\n'
        'A,a.jpg,"sort images by age, please.",31,age,test,1,x\n'
        "A,a.jpg,sort images by height.,1.75,size,,,x\n"
        "B,b.jpg,,7,,TEST,,x\n"
        "C,sub/c.png,sort images by height.,,,,,x\n"
    )
    table = open_dataset("table", write(root, text))
    assert [image.sample_id for image in table.images()] == ["A", "B", "C"]
    assert table.labels() == [
        Label("A", "age", "sort images by age, please.", 31.0, "train", 0),
        Label("A", "age", "sort images by age, please.", 31.0, "test", 1),
        Label("A", "size", "sort images by height.", 1.75, "all"),
        Label("B", "table", "Sort images by value.", 7.0, "test"),
    ]


def test_byte_order_mark_blank_lines_and_tabs(root):
    (root / "labels.csv").write_bytes("\ufeffpath\tvalue\r\n\r\na.jpg\t 2 \r\n".encode())
    labels = open_dataset("table", root, query="sort images by x.", task="x").labels()
    assert labels == [Label("a.jpg", "x", "sort images by x.", 2.0, "all")]


def test_the_released_codes_table(root):
    text = (
        "filepath\ttitle\tcname\tvalue\tsample_weights_by_class\n"
        "/mnt/x/COCO/val2017//000000360661.jpg\tRank the numbers of horse.\thorse\t3\t0.0069\n"
    )
    write(root, text)
    expected = [
        Label("val2017/000000360661.jpg", "table", "Rank the numbers of horse.", 3.0, "all")
    ]
    stripped = open_dataset("table", root, strip_prefix="/mnt/x/COCO")
    assert stripped.labels() == expected
    assert open_dataset("table", root, match="name").labels() == expected
    with pytest.raises(DatasetError, match=r"line 2, column path: .*absolute.*strip_prefix"):
        open_dataset("table", root).labels()
    with pytest.raises(DatasetError, match="expected it to begin with '/home'"):
        open_dataset("table", root, strip_prefix="/home").labels()


def test_match_by_name_wants_exactly_one(root):
    Image.new("RGB", (4, 4)).save(root / "sub" / "a.jpg")
    write(root, "path\n/x/a.jpg\n")
    with pytest.raises(DatasetError, match="2 files of that name"):
        open_dataset("table", root, match="name").images()
    write(root, "path\nC:\\photos\\none.jpg\n")
    with pytest.raises(DatasetError, match="no file of that name"):
        open_dataset("table", root, match="name").images()


def test_parquet_with_absent_values(root):
    columns = {
        "path": ["a.jpg", "b.jpg", "b.jpg"],
        "value": [1.5, None, float("nan")],
        "split": ["train", None, "test"],
        "fold": pa.array([3.0, None, float("nan")]),
    }
    pq.write_table(pa.table(columns), root / "t.parquet")
    table = open_dataset("table", root)
    assert len(table.images()) == 2
    assert table.labels() == [Label("a.jpg", "table", "Sort images by value.", 1.5, "train", 3)]


def test_the_table_may_lie_elsewhere(root, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("tables")
    write(elsewhere, "path,value\na.jpg,1\n", "x.csv")
    assert len(open_dataset("table", root, table=str(elsewhere / "x.csv")).labels()) == 1
    with pytest.raises(DatasetNotFoundError, match=r"no table y\.csv"):
        open_dataset("table", root, table="y.csv").labels()


def test_wants_one_table(root):
    with pytest.raises(DatasetNotFoundError, match=r"holds 0 tables.*\n.*ROOT/"):
        open_dataset("table", root).images()
    write(root, "path\na.jpg\n", "x.csv")
    write(root, "path\na.jpg\n", "y.tsv")
    with pytest.raises(DatasetNotFoundError, match=r"holds 2 tables: x\.csv, y\.tsv"):
        open_dataset("table", root).images()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a.jpg,1,all,0\nb.jpg,many,all,0", "line 3, column value: found 'many', expected a fin"),
        ("a.jpg,nan,all,0", "line 2, column value: found 'nan'"),
        ("a.jpg,inf,all,0", "line 2, column value: found 'inf'"),
        ("a.jpg,1,dev,0", "line 2, column split: found 'dev', expected train, val"),
        ("a.jpg,1,all,-1", "line 2, column fold: found '-1'"),
        ("a.jpg,1,all,1.5", "line 2, column fold: found '1.5'"),
        ("a.jpg,1,all", "line 2: found 3 cells, expected 4"),
        (",1,all,0", "line 2, column path: '' is not a file name"),
        ("../a.jpg,1,all,0", r"line 2, column path: .*contains '\.\.'"),
        ("/etc/passwd,1,all,0", "line 2, column path: .*absolute"),
        ("C:\\a.jpg,1,all,0", "line 2, column path: .*absolute"),
        ("a.jpg,1,all,0\na.jpg,2,all,0", "line 3, column value: found 2, expected 1"),
        ('a.jpg,1,"all,0', "line 2: unexpected end of data"),
        ("", "no row below the header"),
    ],
)
def test_a_bad_row_is_named(root, rows, message):
    write(root, f"path,value,split,fold\n{rows}\n")
    with pytest.raises(DatasetError, match=message) as caught:
        open_dataset("table", root).labels()
    assert str(root / "labels.csv") in str(caught.value)
    report = open_dataset("table", root).check()
    assert not report.ok
    assert str(caught.value) in report.problems


def test_a_bad_header_is_named(root):
    with pytest.raises(DatasetError, match="line 1: found columns image, value; expected 'path'"):
        open_dataset("table", write(root, "image,value\n")).images()
    with pytest.raises(DatasetError, match="column 'path' is there twice"):
        open_dataset("table", write(root, "path,filepath\na.jpg,b.jpg\n")).images()


def test_not_text_and_not_parquet(root):
    (root / "labels.csv").write_bytes(b"path\n\xff\xfe\n")
    with pytest.raises(DatasetError, match="expected text in UTF-8"):
        open_dataset("table", root).images()
    (root / "labels.csv").rename(root / "labels.parquet")
    with pytest.raises(DatasetError, match="not a Parquet table"):
        open_dataset("table", root).images()


def test_equal_rows_count_once(root):
    table = open_dataset("table", write(root, "path,value\na.jpg,1\na.jpg,1.0\n"))
    assert len(table.labels()) == 1


def test_one_id_for_two_images_is_an_error(root):
    with pytest.raises(DatasetError, match=r"column sample_id: found .x. for b\.jpg"):
        open_dataset("table", write(root, "sample_id,path\nx,a.jpg\nx,b.jpg\n")).images()


def test_missing_images_are_listed_and_checked(root):
    table = open_dataset("table", write(root, "path,value\na.jpg,1\ngone.jpg,2\n"))
    assert len(table.images()) == 2, "extraction records the second as failed"
    report = table.check()
    assert (report.num_images, report.images_missing, report.images_extra) == (1, 1, 1)


def test_split_file(root):
    write(root, "path,value,split\na.jpg,1,test\nb.jpg,2,test\nsub/c.png,3,test\n")
    (root / "split.json").write_text('{"train_id": ["a.jpg"], "test_id": ["b.jpg"]}')
    labels = open_dataset("table", root, split_file=root / "split.json").labels()
    assert [(label.sample_id, label.split) for label in labels] == [
        ("a.jpg", "train"),
        ("b.jpg", "test"),
    ]


def test_a_leak_is_reported(root):
    write(root, "path,value,split,fold\na.jpg,1,train,0\na.jpg,1,test,0\nb.jpg,1,test,1\n")
    (leak,) = open_dataset("table", root).check().leaks
    assert leak == "fold 0: 1 times the same image in train and test, e.g. a.jpg"
