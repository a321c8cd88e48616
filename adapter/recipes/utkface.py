"""Table 7: age in years, UTKFace.

    adapter reproduce utkface --data DIR --out DIR

Data: DIR/utkface, in any of the layouts that the archives unpack to; ages 21 to 60; the split of
the tables beside the images where there are some, else one face in five of each age for the test,
by seed.

Known results: none yet with the paper's backbone and all faces. On a sample of 2,401 faces with a
self-supervised ViT-S/14 that is not CLIP, see docs/results.md. The paper prints MAE 3.83
for its method after 20,000 steps at 5e-5.
"""

from __future__ import annotations

from adapter.methods.adapter import Adapter, settings
from adapter.methods.coop import CoOp
from adapter.methods.linear import LinearProbe
from adapter.methods.ordinal_clip import OrdinalClip
from adapter.methods.ridge import RidgeProbe
from adapter.methods.zero_shot import ZeroShot
from adapter.network.losses import LossConfig
from adapter.reproduction.recipe import Printed, Recipe, Row, Task
from featcache.datasets.queries import AGE

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

TRAIN = settings(steps=8000, lr=1e-4)


def row(key: str, title: str, mae: float) -> Row:
    """Return a line that stands as the paper prints it."""
    return Row(key=key, title=title, printed={"utkface": {"mae": Printed(mean=mae)}})


RECIPE = Recipe(
    name="utkface",
    title="Age estimation: UTKFace",
    source="Table 7 of arXiv 2412.06760v3",
    tasks=(UTKFACE,),
    rows=(
        row("coral", "CORAL", 5.39),
        row("randbins", "Randomized bins", 4.55),
        row("mwr", "MWR", 4.37),
        row("mivolo", "MiVOLO", 4.23),
        Row(key="zero-shot", title="CLIP, zero-shot", method=ZeroShot()),
        Row(key="coop", title="CoOp", method=CoOp()),
        Row(key="ordinalclip", title="OrdinalCLIP", method=OrdinalClip(base_ranks=5)),
        Row(key="ridge-pooled", title="Ridge, pooled", method=RidgeProbe(features="pooled")),
        Row(key="ridge-tokens", title="Ridge, mean tokens", method=RidgeProbe(features="tokens")),
        Row(key="ridge", title="Ridge, both", method=RidgeProbe()),
        Row(key="linear", title="Softmax, both", method=LinearProbe()),
        Row(
            key="regression-only",
            title="Adapter, regression head only",
            method=Adapter(loss=LossConfig.released(ranking="none"), train=TRAIN),
        ),
        Row(
            key="adapter",
            title="Ranking-aware adapter",
            method=Adapter(train=TRAIN),
            printed={"utkface": {"mae": Printed(mean=3.83)}},
        ),
    ),
    reference="adapter",
    notes=("The printed rows were trained on about 13,000 faces.",),
)
