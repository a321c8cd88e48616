"""The smaller sets of quality and aesthetics, each in its official layout, in small."""

import zipfile
from collections import Counter

import numpy as np
import pytest
from scipy.io import savemat

from featcache.datasets import open_dataset
from featcache.errors import DatasetError

MOS = "sort images by the image quality of mean opinion score."


def splits(labels, fold):
    return {label.sample_id: label.split for label in labels if label.fold == fold}


# --- AGIQA-3k

AGIQA = "name,prompt,adj1,adj2,style,mos_quality,std_quality,mos_align,std_align\n" + "".join(
    f'DALLE2_{p}_{i}.jpg,"a cat, {p}",sharp,,anime style,{p * 0.4:.3f},0.2,{i + 1},0.1\n'
    for p in range(10)
    for i in range(2)
)
AGIQA_IMAGES = [f"DALLE2_{p}_{i}.jpg" for p in range(10) for i in range(2)]


@pytest.mark.parametrize("folder", ["", "AGIQA-3K/", "AGIQA-3k/", "images/"])
def test_agiqa(put, agree, folder):
    root = put(*(folder + name for name in AGIQA_IMAGES), **{"data.csv": AGIQA})
    dataset = open_dataset("agiqa-3k", root)
    labels = agree(dataset)
    assert len(labels) == 20 * 10
    assert {(label.task, label.query) for label in labels} == {("quality", MOS)}
    assert {label.value for label in labels if label.sample_id == "DALLE2_3_1"} == {1.2}
    for fold in range(10):
        sides = splits(labels, fold)
        assert Counter(sides.values()) == {"train": 16, "test": 4}
        assert all(sides[f"DALLE2_{p}_0"] == sides[f"DALLE2_{p}_1"] for p in range(10))
    assert dataset.check().leaks == ()


def test_agiqa_alignment(put):
    root = put(*AGIQA_IMAGES, **{"data.csv": AGIQA})
    labels = open_dataset("agiqa-3k", root, alignment="true", folds=1).labels()
    aligned = {lab.sample_id: (lab.query, lab.value) for lab in labels if lab.task == "alignment"}
    assert len(labels) == 40
    assert aligned["DALLE2_3_1"] == ("sort images by its relevance to a cat, 3.", 2.0)


# --- LIVE In the Wild


def matlab(root, names, scores):
    (root / "Data").mkdir(parents=True, exist_ok=True)
    cells = np.empty((len(names), 1), dtype=object)
    cells[:, 0] = names
    savemat(root / "Data" / "AllImages_release.mat", {"AllImages_release": cells})
    savemat(root / "Data" / "AllMOS_release.mat", {"AllMOS_release": np.array([scores])})


@pytest.mark.parametrize("prefix", ["", "ChallengeDB_release/", "a/ChallengeDB_release/"])
def test_live_itw(put, agree, prefix):
    training = [f"t{i}.bmp" for i in range(1, 8)]
    names = [*training, "3.bmp", "4.bmp", "1024.JPG", "5.bmp", "6.bmp"]
    scores = [1.0] * 7 + [63.9634, 25.335, 48.9, 1.5, 92.0]
    root = put(
        *(f"{prefix}Images/trainingImages/{name}" for name in training),
        *(f"{prefix}Images/{name}" for name in names[7:]),
    )
    matlab(root / prefix, names, scores)
    dataset = open_dataset("live-itw", root)
    labels = agree(dataset)
    assert {label.sample_id: label.value for label in labels} == {
        "3": 63.9634,
        "4": 25.335,
        "1024": 48.9,
        "5": 1.5,
        "6": 92.0,
    }
    assert all(
        Counter(splits(labels, fold).values()) == {"train": 4, "test": 1} for fold in range(10)
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


@pytest.mark.parametrize("form", ["xlsx", "csv"])
def test_spaq(put, agree, form):
    root = put(*(f"TestImage/{row[0]}" for row in SPAQ_ROWS), **{"Annotations/readme.txt": ""})
    if form == "xlsx":
        workbook(root / "Annotations" / "MOS and Image attribute scores.xlsx")
    else:
        lines = [",".join(map(str, row)) for row in [SPAQ_COLUMNS, *SPAQ_ROWS]]
        name = "MOS and Image attribute scores.csv"
        (root / "Annotations" / name).write_text("\n".join(lines))
    labels = agree(open_dataset("spaq", root, folds=2))
    assert len(labels) == 10 * 6 * 2
    first = {
        label.query: label.value
        for label in labels
        if label.sample_id == "00003" and label.fold == 0
    }
    assert first == {
        MOS: 13.5,
        "sort images by the image quality of brightness.": 50,
        "sort images by the image quality of colorfulness.": 51,
        "sort images by the image quality of contrast.": 52,
        "sort images by the image quality of noisiness.": 53,
        "sort images by the image quality of sharpness.": 57,
    }
    assert Counter(splits(labels, 1).values()) == {"train": 8, "test": 2}


def test_spaq_with_a_broken_workbook(put):
    root = put("TestImage/00001.jpg", **{"Annotations/MOS and Image attribute scores.xlsx": "PK"})
    with pytest.raises(DatasetError, match=r"not an \.xlsx workbook"):
        open_dataset("spaq", root).labels()


# --- TID2013


def test_tid2013(put, agree):
    lines, images = [], []
    for reference in range(1, 26):
        for level in (1, 2):
            lines.append(f"{reference / 5 + level:.5f} I{reference:02d}_01_{level}.bmp")
            case = str.lower if reference == 25 else str
            images.append(f"distorted_images/{case(f'I{reference:02d}')}_01_{level}.BMP")
    root = put(*images, "reference_images/I01.BMP", **{"mos_with_names.txt": "\n".join(lines)})
    dataset = open_dataset("tid2013", root)
    labels = agree(dataset)
    assert len(dataset.images()) == 50, "the case of names is ignored"
    assert {label.value for label in labels if label.sample_id == "i25_01_2"} == {7.0}
    for fold in range(10):
        sides = splits(labels, fold)
        assert Counter(sides.values()) == {"train": 40, "test": 10}
        assert all(sides[f"i{r:02d}_01_1"] == sides[f"i{r:02d}_01_2"] for r in range(1, 26))
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


@pytest.mark.parametrize(
    ("folder", "test"),
    [
        ("datasetImages_originalSize", "AADB_newtest_originalSize/0.650_farm1_e_b.jpg"),
        ("datasetImages_originalSize", "datasetImages_originalSize/farm1_e_b.jpg"),
        ("datasetImages_warp256", "datasetImages_warp256/farm1_e_b.jpg"),
    ],
)
def test_aadb(put, agree, folder, test):
    root = put(*(f"{folder}/farm1_{x}_b.jpg" for x in "acd"), test, **AADB_LISTS)
    labels = agree(open_dataset("aadb", root))
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
def test_para(put, agree, prefix):
    train = f"{PARA_HEADER}\niaa_pub1_.jpg,session1,scene,0,0,0,0,5,20,0,0,0,3.4,0.2,3.6,0.3\n"
    test = f"{PARA_HEADER}\niaa_pub1_.jpg,session2,food,1,0,0,0,0,0,0,0,1,3.0,2,1.5,0.1\n"
    root = put(
        *(f"{prefix}imgs/session{s}/iaa_pub1_.jpg" for s in (1, 2)),
        **{
            f"{prefix}annotation/PARA-GiaaTrain.csv": train,
            f"{prefix}annotation/PARA-GiaaTest.csv": test,
        },
    )
    labels = agree(open_dataset("para", root))
    found = [(lab.sample_id, lab.task, lab.value, lab.split) for lab in labels]
    assert found == [
        ("session1/iaa_pub1_", "aesthetics", 3.4, "train"),
        ("session1/iaa_pub1_", "quality", 3.6, "train"),
        ("session2/iaa_pub1_", "aesthetics", 3.0, "test"),
        ("session2/iaa_pub1_", "quality", 1.5, "test"),
    ]
    assert labels[0].distribution == pytest.approx((0, 0, 0, 0, 0.2, 0.8, 0, 0, 0))


def test_para_bad_row(put):
    bad = f"{PARA_HEADER}\niaa_pub1_.jpg,session1,scene,0,0,0,0,5,20,0,0,0,34,0.2,3.6,0.3\n"
    names = {"annotation/PARA-GiaaTrain.csv": bad, "annotation/PARA-GiaaTest.csv": bad}
    root = put("imgs/session1/iaa_pub1_.jpg", **names)
    with pytest.raises(DatasetError, match="column aestheticScore_mean: found '34'"):
        open_dataset("para", root).labels()
