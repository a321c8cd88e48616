"""The smaller sets of quality and aesthetics: their miniatures read back, and what is odd."""

import csv
import io
import shutil
import zipfile
from collections import Counter

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from featcache.datasets import open_dataset
from featcache.errors import DatasetError

MOS = "sort images by the image quality of mean opinion score."


def splits(labels, fold):
    return {label.sample_id: label.split for label in labels if label.fold == fold}


# --- AGIQA-3k


@pytest.mark.parametrize("folder", ["", "AGIQA-3K", "AGIQA-3k", "images"])
def test_agiqa(copied, agree, folder):
    root = copied("agiqa-3k")
    (root / "AGIQA-3K").rename(root / (folder or "unpacked"))
    if not folder:  # the images lie beside the table
        shutil.copytree(root / "unpacked", root, dirs_exist_ok=True)
        shutil.rmtree(root / "unpacked")
    dataset = open_dataset("agiqa-3k", root)
    labels = agree(dataset)
    rows = list(csv.DictReader(io.StringIO((root / "data.csv").read_text())))
    assert len(labels) == 40 * 10
    assert {(label.task, label.query) for label in labels} == {("quality", MOS)}
    values = {label.sample_id: label.value for label in labels}
    assert values == {row["name"][:-4]: float(row["mos_quality"]) for row in rows}
    for fold in range(10):
        sides = splits(labels, fold)
        assert Counter(sides.values()) == {"train": 30, "test": 10}
        by_prompt = {}
        for row in rows:
            by_prompt.setdefault(row["prompt"], set()).add(sides[row["name"][:-4]])
        assert all(len(parts) == 1 for parts in by_prompt.values())
    assert dataset.check().leaks == ()


def test_agiqa_alignment(drawn):
    root = drawn("agiqa-3k")
    labels = open_dataset("agiqa-3k", root, alignment="true", folds=1).labels()
    aligned = {lab.sample_id: (lab.query, lab.value) for lab in labels if lab.task == "alignment"}
    assert len(labels) == 80
    for row in csv.DictReader(io.StringIO((root / "data.csv").read_text())):
        query = f"sort images by its relevance to {row['prompt']}."
        assert aligned[row["name"][:-4]] == (query, float(row["mos_align"]))


# --- LIVE In the Wild


def matlab(root, names, scores):
    (root / "Data").mkdir(parents=True, exist_ok=True)
    cells = np.empty((len(names), 1), dtype=object)
    cells[:, 0] = names
    savemat(root / "Data" / "AllImages_release.mat", {"AllImages_release": cells})
    savemat(root / "Data" / "AllMOS_release.mat", {"AllMOS_release": np.array([scores])})


@pytest.mark.parametrize("prefix", ["", "ChallengeDB_release", "a/ChallengeDB_release"])
def test_live_itw(copied, agree, tmp_path, prefix):
    copied("live-itw", "drawn")
    place = tmp_path / "root" / prefix
    place.parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "drawn" / "ChallengeDB_release").rename(place)
    root = tmp_path / "root"
    dataset = open_dataset("live-itw", root)
    labels = agree(dataset)
    names = loadmat(place / "Data/AllImages_release.mat")["AllImages_release"].ravel()
    scores = loadmat(place / "Data/AllMOS_release.mat")["AllMOS_release"].ravel()
    assert len(names) == len(scores) == 40 + 7
    listed = {
        str(name[0]).rsplit(".", 1)[0]: score for name, score in zip(names, scores, strict=True)
    }
    values = {label.sample_id: label.value for label in labels}
    assert values == {name: listed[name] for name in list(listed)[7:]}
    assert all(
        Counter(splits(labels, fold).values()) == {"train": 32, "test": 8} for fold in range(10)
    )


def test_live_itw_lists_of_different_length(put):
    root = put("Images/3.bmp")
    matlab(root, ["a.bmp"] * 9, [1.0] * 8)
    with pytest.raises(DatasetError, match="found 9 names and 8 scores"):
        open_dataset("live-itw", root).labels()
    (root / "Data" / "AllMOS_release.mat").write_bytes(b"not MATLAB" * 100)
    with pytest.raises(DatasetError, match="expected the MATLAB variable AllMOS_release"):
        open_dataset("live-itw", root).labels()


# --- SPAQ

SPAQ_COLUMNS = "Image name,MOS,Brightness,Colorfulness,Contrast,Noisiness,Sharpness".split(",")  # noqa: SIM905
SPAQ_ROWS = [[f"{i:05d}.jpg", 10.5 + i, 50, 51, 52, 53, 54 + i] for i in range(1, 11)]


def workbook(file):
    """Write what Excel writes: shared strings, styled cells, and empty rows at the end."""
    texts = [*SPAQ_COLUMNS, *(row[0] for row in SPAQ_ROWS)]
    main = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    rows = []
    for r, row in enumerate([SPAQ_COLUMNS, *SPAQ_ROWS], start=1):
        cells = "".join(
            f'<c r="{"ABCDEFG"[c]}{r}" s="1" t="s"><v>{texts.index(value)}</v></c>'
            if isinstance(value, str)
            else f'<c r="{"ABCDEFG"[c]}{r}"><v>{value}</v></c>'
            for c, value in enumerate(row)
        )
        rows.append(f'<row r="{r}" spans="1:7">{cells}</row>')
    rows.append('<row r="12"><c r="A12" s="1"/></row>')
    strings = "".join(f"<si><r><t>{t[:3]}</t></r><r><t>{t[3:]}</t></r></si>" for t in texts)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("xl/sharedStrings.xml", f"<sst {main}>{strings}</sst>")
        sheet = f"<worksheet {main}><sheetData>{''.join(rows)}</sheetData></worksheet>"
        archive.writestr("xl/worksheets/sheet1.xml", sheet)
        archive.writestr("xl/worksheets/sheet2.xml", f"<worksheet {main}/>")


def test_spaq(drawn, agree):
    labels = agree(open_dataset("spaq", drawn("spaq"), folds=2))
    assert len(labels) == 40 * 6 * 2
    assert Counter(splits(labels, 1).values()) == {"train": 32, "test": 8}


@pytest.mark.parametrize("form", ["xlsx", "csv"])
def test_spaq_as_excel_writes_it_and_as_text(put, form):
    root = put(*(f"TestImage/{row[0]}" for row in SPAQ_ROWS), **{"Annotations/readme.txt": ""})
    if form == "xlsx":
        workbook(root / "Annotations" / "MOS and Image attribute scores.xlsx")
    else:
        lines = [",".join(map(str, row)) for row in [SPAQ_COLUMNS, *SPAQ_ROWS]]
        name = "MOS and Image attribute scores.csv"
        (root / "Annotations" / name).write_text("\n".join(lines))
    labels = open_dataset("spaq", root, folds=1).labels()
    assert {lab.query: lab.value for lab in labels if lab.sample_id == "00003"} == {
        MOS: 13.5,
        "sort images by the image quality of brightness.": 50,
        "sort images by the image quality of colorfulness.": 51,
        "sort images by the image quality of contrast.": 52,
        "sort images by the image quality of noisiness.": 53,
        "sort images by the image quality of sharpness.": 57,
    }


def test_spaq_with_a_broken_workbook(put):
    root = put("TestImage/00001.jpg", **{"Annotations/MOS and Image attribute scores.xlsx": "PK"})
    with pytest.raises(DatasetError, match=r"not an \.xlsx workbook"):
        open_dataset("spaq", root).labels()


# --- TID2013


def test_tid2013(drawn, agree):
    root = drawn("tid2013")
    dataset = open_dataset("tid2013", root)
    labels = agree(dataset)
    lines = [line.split() for line in (root / "mos_with_names.txt").read_text().splitlines()]
    on_disk = {path.name for path in (root / "distorted_images").iterdir()}
    assert any(name not in on_disk for _, name in lines), "the case of names is ignored"
    values = {label.sample_id: label.value for label in labels}
    assert values == {name.lower()[:-4]: float(score) for score, name in lines}
    assert len(values) == 75
    for fold in range(10):
        sides = splits(labels, fold)
        assert Counter(sides.values()) == {"train": 60, "test": 15}
        by_reference = {}
        for sample, side in sides.items():
            by_reference.setdefault(sample[:3], set()).add(side)
        assert all(len(parts) == 1 for parts in by_reference.values())
    assert dataset.check().leaks == ()


@pytest.mark.parametrize("line", ["9.5 I01_01_1.bmp", "x I01_01_1.bmp", "I01_01_1.bmp"])
def test_tid2013_bad_lines(put, line):
    root = put("distorted_images/i01_01_1.bmp", **{"mos_with_names.txt": f"\n{line}\n"})
    with pytest.raises(DatasetError, match="line 2: found"):
        open_dataset("tid2013", root).labels()


# --- AADB

AADB_LISTS = {
    "imgListFiles_label/imgListTrainRegression_score.txt": "farm1_a_b.jpg 0.30\nfarm1_c_b.jpg 1\n",
    "imgListFiles_label/imgListValidationRegression_score.txt": "farm1_d_b.jpg 0.75 \n",
    "imgListFiles_label/imgListTestNewRegression_score.txt": "0.650_farm1_e_b.jpg 0.65\n",
}
AADB_VALUES = {
    "farm1_a_b": (0.3, "train"),
    "farm1_c_b": (1.0, "train"),
    "farm1_d_b": (0.75, "val"),
    "farm1_e_b": (0.65, "test"),
}


def test_aadb(drawn, agree):
    root = drawn("aadb")
    labels = agree(open_dataset("aadb", root))
    expected = {}
    for split, word in {"train": "Train", "val": "Validation", "test": "TestNew"}.items():
        text = (root / f"imgListFiles_label/imgList{word}Regression_score.txt").read_text()
        for line in text.splitlines():
            name, score = line.split()
            expected[name[name.index("farm") :].removesuffix(".jpg")] = (float(score), split)
    assert {lab.sample_id: (lab.value, lab.split) for lab in labels} == expected
    assert Counter(split for _, split in expected.values()) == {"train": 28, "val": 4, "test": 8}


@pytest.mark.parametrize("folder", ["datasetImages_originalSize", "datasetImages_warp256"])
def test_aadb_in_one_folder(put, folder):
    root = put(*(f"{folder}/farm1_{x}_b.jpg" for x in "acde"), **AADB_LISTS)
    labels = open_dataset("aadb", root).labels()
    assert {lab.sample_id: (lab.value, lab.split) for lab in labels} == AADB_VALUES


def test_aadb_from_matlab(put, agree):
    root = put(*(f"datasetImages_warp256/farm1_{x}_b.jpg" for x in "ace"))

    def cells(*names):
        out = np.empty((1, len(names)), dtype=object)
        out[0, :] = names
        return out

    content = {
        "trainNameList": cells("farm1_a_b.jpg", "farm1_c_b.jpg"),
        "trainScore": np.array([[0.3, 1.0]]),
        "testNameList": cells("farm1_e_b.jpg", "farm1_gone_b.jpg"),
        "testScore": np.array([[0.65, 0.5]]),
    }
    savemat(root / "AADBinfo.mat", content)
    dataset = open_dataset("aadb", root)
    labels = agree(dataset)
    assert {lab.sample_id: (lab.value, lab.split) for lab in labels} == {
        key: value for key, value in AADB_VALUES.items() if value[1] != "val"
    }
    assert dataset.check().images_missing == 1
    assert dataset.check().notes == ("AADBinfo.mat has no validation list",)


def test_aadb_problems_are_named(put):
    name = "imgListFiles_label/imgListValidationRegression_score.txt"
    root = put("datasetImages_warp256/farm1_a_b.jpg", **(AADB_LISTS | {name: "farm1_d_b.jpg 75\n"}))
    with pytest.raises(DatasetError, match=r"Validation.*line 1: found '75', expected a number"):
        open_dataset("aadb", root).labels()
    (root / name).write_text("farm1_a_b.jpg 0.3\n")
    with pytest.raises(DatasetError, match="farm1_a_b.jpg is there twice"):  # noqa: RUF043
        open_dataset("aadb", root).labels()
    (root / name).unlink()
    with pytest.raises(DatasetError, match="Validation"):
        open_dataset("aadb", root).labels()


# --- PARA

PARA_RATINGS = [f"aestheticScore_{score:.1f}" for score in np.arange(1, 5.5, 0.5)]
PARA_SCORES = "aestheticScore_mean,aestheticScore_std,qualityScore_mean,qualityScore_std"
PARA_HEADER = ",".join(["imageName,sessionId,semantic", *PARA_RATINGS, PARA_SCORES])


@pytest.mark.parametrize("prefix", ["", "PARA/"])
def test_para(copied, agree, tmp_path, prefix):
    root = copied("para", *prefix.split("/"))
    labels = agree(open_dataset("para", tmp_path))
    found = {(lab.sample_id, lab.task): lab for lab in labels}
    seen = 0
    for split, file in {"train": "PARA-GiaaTrain.csv", "test": "PARA-GiaaTest.csv"}.items():
        for row in csv.DictReader(io.StringIO((root / "annotation" / file).read_text())):
            sample = f"{row['sessionId']}/{row['imageName'][:-4]}"
            beauty, quality = found[sample, "aesthetics"], found[sample, "quality"]
            assert (beauty.value, beauty.split) == (float(row["aestheticScore_mean"]), split)
            assert (quality.value, quality.split) == (float(row["qualityScore_mean"]), split)
            counts = [int(row[column]) for column in PARA_RATINGS]
            assert beauty.distribution == pytest.approx([n / sum(counts) for n in counts])
            assert quality.distribution is None
            seen += 2
    assert seen == len(labels) == 80


def test_para_bad_row(put):
    bad = f"{PARA_HEADER}\niaa_pub1_.jpg,session1,scene,0,0,0,0,5,20,0,0,0,34,0.2,3.6,0.3\n"
    names = {"annotation/PARA-GiaaTrain.csv": bad, "annotation/PARA-GiaaTest.csv": bad}
    root = put("imgs/session1/iaa_pub1_.jpg", **names)
    with pytest.raises(DatasetError, match="column aestheticScore_mean: found '34'"):
        open_dataset("para", root).labels()
