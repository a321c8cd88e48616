"""Data sets, splits, queries and prompts that the tables share: a task with one key has its cells.

What the papers leave open is a field here, and is said below every table that shows the task.
"""

from __future__ import annotations

from dataclasses import replace

from adapter.methods import known
from adapter.methods.known import QUALITY_PAIR, SCALES
from adapter.reproduction.recipe import Metric, Task
from featcache.datasets.adience import FOLDS
from featcache.datasets.clevr import ATTRIBUTES
from featcache.datasets.queries import AGE, AGE_GROUP, DATE, PHOTOMETRIC, count_attribute, quality

CORRELATIONS: tuple[Metric, ...] = ("plcc", "srcc")
COUNTS: tuple[Metric, ...] = ("plcc", "srcc", "plcc_zeros", "srcc_zeros")

ADIENCE = Task(
    key="adience",
    title="Adience",
    dataset="adience",
    folders=("adience", "Adience"),
    folds=tuple(range(FOLDS)),
    task="age-group",
    query=AGE_GROUP,
    class_values=known.ADIENCE.values,
    class_names=known.ADIENCE.names,
    class_prompt=known.ADIENCE.prompt,
    antonyms=known.ADIENCE.antonyms,
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
    class_values=known.HCI.values,
    class_names=known.HCI.names,
    class_prompt=known.HCI.prompt,
    antonyms=known.HCI.antonyms,
    split="ten seeded splits of 210, 5 and 50 photographs per decade",
)

UTKFACE = Task(
    key="utkface",
    title="UTKFace",
    dataset="utkface",
    folders=("utkface", "UTKFace", "."),
    task="age",
    query=AGE,
    class_values=known.UTKFACE.values,
    class_names=known.UTKFACE.names,
    class_prompt=known.UTKFACE.prompt,
    antonyms=known.UTKFACE.antonyms,
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
    scale=SCALES["koniq10k"],
    metrics=CORRELATIONS,
    validation="train",
    split="the official test part of 2,015; training and validation parts are both learned from, "
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
    scale=SCALES["ava"],
    threshold=5.0,
    metrics=CORRELATIONS,
    split="the official test list of 20,000; all others are learned from",
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
    scale=SCALES["live-itw"],
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
    scale=SCALES["tid2013"],
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
    scale=SCALES["aadb"],
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
    scale=SCALES["para"],
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
    scale=SCALES["agiqa-3k"],
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
