"""Data sets, splits, queries and prompts that the tables share: a task with one key has its cells.

What the papers leave open is a field here, and is said below every table that shows the task.
"""

from __future__ import annotations

from dataclasses import replace

from adapter.reproduction.recipe import Metric, Task
from featcache.datasets.adience import FOLDS
from featcache.datasets.clevr import ATTRIBUTES
from featcache.datasets.queries import AGE, AGE_GROUP, DATE, PHOTOMETRIC, count_attribute, quality

CORRELATIONS: tuple[Metric, ...] = ("plcc", "srcc")
COUNTS: tuple[Metric, ...] = ("plcc", "srcc", "plcc_zeros", "srcc_zeros")
QUALITY_PAIR = ("Good photo.", "Bad photo.")

ADIENCE = Task(
    key="adience",
    title="Adience",
    dataset="adience",
    folders=("adience", "Adience"),
    folds=tuple(range(FOLDS)),
    task="age-group",
    query=AGE_GROUP,
    class_values=tuple(float(group) for group in range(8)),
    class_names=(
        "0 to 2 years old",
        "4 to 6 years old",
        "8 to 13 years old",
        "15 to 20 years old",
        "25 to 32 years old",
        "38 to 43 years old",
        "48 to 53 years old",
        "60 to 100 years old",
    ),
    class_prompt="a photo of a person {}.",
    antonyms=("a photo of an old person.", "a photo of a young child."),
    split="five folds of persons, the benchmark's own",
)

HCI = Task(
    key="hci",
    title="HCI",
    dataset="hci",
    folders=("hci", "HCI", "HistoricalColor-ECCV2012", "."),
    folds=tuple(range(10)),
    quick_options={"train": 15, "val": 1, "test": 4},  # per decade; enough to see a signal
    task="decade",
    query=DATE,
    class_values=tuple(float(decade) for decade in range(5)),
    class_names=("1930s", "1940s", "1950s", "1960s", "1970s"),
    class_prompt="a photo taken in the {}.",
    antonyms=("a photo taken in the 1970s.", "a photo taken in the 1930s."),
    split="ten seeded splits of 210, 5 and 50 photographs per decade",
)

YEARS = range(21, 61)

UTKFACE = Task(
    key="utkface",
    title="UTKFace",
    dataset="utkface",
    folders=("utkface", "UTKFace", "."),
    task="age",
    query=AGE,
    class_values=tuple(float(year) for year in YEARS),
    class_names=tuple(f"{year} years old" for year in YEARS),
    class_prompt="a photo of a person {}.",
    antonyms=("a photo of an old person.", "a photo of a young person."),
    metrics=("mae", "srcc"),
    classifier_value="expected",
    split="ages 21 to 60; one split",
)

KONIQ = Task(
    key="koniq",
    title="KonIQ-10k",
    dataset="koniq10k",
    folders=("koniq10k", "koniq", "KonIQ-10k", "koniq-10k"),
    task="quality",
    query=quality(),
    antonyms=QUALITY_PAIR,
    scale=(0.0, 100.0),
    metrics=CORRELATIONS,
    validation="train",
    split="the official test part of 2,015; training and validation parts are both learnt from, "
    "as the paper's authors do (8,058)",
    choices=("the prompt of scores is not published; ours is in docs/datasets.md.",),
)

# CLIP-IQA+ learns from the 7,058 training images alone.
KONIQ_TRAINING = replace(
    KONIQ,
    key="koniq-training",
    validation="keep",
    split="the official parts: 7,058 to learn from, 2,015 to test",
    choices=(),
)

AVA = Task(
    key="ava",
    title="AVA",
    dataset="ava",
    folders=("ava", "AVA"),
    task="aesthetics",
    query=quality(),
    antonyms=QUALITY_PAIR,
    scale=(1.0, 10.0),
    threshold=5.0,
    metrics=CORRELATIONS,
    split="the official test list of 20,000; all others are learnt from",
    choices=("the authors' own list is another, which trains on most official test images.",),
)

MEASURED = (
    "the paper does not say what the labels of contrast, color and brightness are; ours are "
    "measured on the original pixels (docs/datasets.md)."
)


def measured(name: str, title: str, pair: tuple[str, str]) -> Task:
    """Return AVA's photos under a label that is measured on their pixels."""
    return replace(
        AVA,
        key=f"ava-{name}",
        title=f"AVA, {title}",
        task=name,
        query=PHOTOMETRIC[name],
        antonyms=pair,
        scale=None,
        threshold=None,
        choices=(MEASURED,),
    )


AVA_CONTRAST = measured("contrast", "contrast", ("High contrast photo.", "Low contrast photo."))
AVA_COLOR = measured("colourfulness", "colorfulness", ("Colorful photo.", "Dull photo."))
AVA_BRIGHTNESS = measured("brightness", "brightness", ("Bright photo.", "Dark photo."))

COUNTING_CHOICES = (
    "PLCC and SRCC are means over categories, each over the images with a count of one and more.",
    "with zeros: each over all test images.",
    "a crowd counts as one object.",
)

COCO_REM = Task(
    key="coco-rem",
    title="COCO-ReM",
    dataset="coco-rem",
    folders=("coco-rem", "coco_rem", "coco", "COCO"),
    options={"crowd": "one"},
    task="count",
    queries=("*",),
    zeros="inferred",
    metrics=COUNTS,
    split="train2017 to learn from, val2017 to test",
    choices=COUNTING_CHOICES,
)

# The same models, tested under labels that do not count crowds.
COCO_REM_CROWDS = replace(
    COCO_REM,
    key="coco-rem-no-crowds",
    title="COCO-ReM, crowds ignored",
    options={"crowd": "ignore"},
    metrics=CORRELATIONS,
    split="the same images and models; labels that leave out crowds",
    choices=("the difference to the first columns is the effect of crowds on the test.",),
)


def clevr(kind: str) -> Task:
    """Return CLEVR's counts by one kind of attribute."""
    return Task(
        key=f"clevr-{kind}",
        title=f"CLEVR, {kind}",
        dataset="clevr",
        folders=("clevr", "CLEVR", "CLEVR_v1.0"),
        task=f"count-{kind}",
        queries=tuple(count_attribute(kind, value) for value in ATTRIBUTES[kind]),
        metrics=COUNTS,
        split="train to learn from; val to test, as the test scenes are not public",
        choices=("the paper does not say whether zeros are tested; both are shown.",),
    )


CLEVR_COLOR, CLEVR_MATERIAL, CLEVR_SHAPE = (clevr(kind) for kind in ATTRIBUTES)

# Opinion scores of quality that are only tested. SPAQ and TID2013 change what differs there.
LIVE_ITW = Task(
    key="live-itw",
    title="LIVE In the Wild",
    dataset="live-itw",
    folders=("live-itw", "live_itw", "ChallengeDB_release", "LIVEC"),
    options={"folds": 1},
    task="quality",
    query=quality(),
    antonyms=QUALITY_PAIR,
    scale=(0.0, 100.0),
    metrics=("srcc", "plcc"),
    tested="all",
    split="all 1,162 photographs are tested",
)

SPAQ = replace(
    LIVE_ITW,
    key="spaq",
    title="SPAQ",
    dataset="spaq",
    folders=("spaq", "SPAQ"),
    backbone={"resize": "short:512"},
    split="all 11,125 photographs are tested, shorter side 512",
    choices=("the authors test a fifth of them, by a shuffle of the workbook's rows.",),
)

TID2013 = replace(
    LIVE_ITW,
    key="tid2013",
    title="TID2013",
    dataset="tid2013",
    folders=("tid2013", "TID2013"),
    scale=(0.0, 9.0),
    split="all 3,000 images are tested",
    choices=("whether the paper tests all of them is not said.",),
)

AADB = Task(
    key="aadb",
    title="AADB",
    dataset="aadb",
    folders=("aadb", "AADB"),
    task="aesthetics",
    query=quality(),
    antonyms=QUALITY_PAIR,
    scale=(0.0, 1.0),
    metrics=CORRELATIONS,
    split="the official parts",
)

PARA = Task(
    key="para",
    title="PARA",
    dataset="para",
    folders=("para", "PARA"),
    task="aesthetics",
    query=quality("aesthetics"),
    antonyms=QUALITY_PAIR,
    scale=(1.0, 5.0),
    metrics=CORRELATIONS,
    split="the official parts",
)

AGIQA = Task(
    key="agiqa-3k",
    title="AGIQA-3k",
    dataset="agiqa-3k",
    folders=("agiqa-3k", "AGIQA-3K", "AGIQA-3k"),
    options={"folds": 1},
    task="quality",
    query=quality(),
    antonyms=QUALITY_PAIR,
    scale=(0.0, 5.0),
    metrics=CORRELATIONS,
    tested="all",
    split="all 2,982 generated images are tested",
)

LVIS = Task(
    key="lvis",
    title="LVIS",
    dataset="lvis",
    folders=("lvis", "LVIS", "coco", "COCO"),
    task="count",
    queries=("*",),
    metrics=COUNTS,
    split="val to test, where a count is known",
)
