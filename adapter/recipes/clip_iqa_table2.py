"""CLIP-IQA, Table 2: wordings of the prompts, and six variants of the features; KonIQ-10k.

    adapter reproduce clip-iqa-table2 --data DIR --out DIR

Data: DIR/koniq10k. Six caches of pooled embeddings, 40 MB each with both views: ResNet-50 and
ViT-B/32, each as it is (squashed to 224), with interpolated positions and without any at the
photos' own size.

Known results: none yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adapter.methods.clip_iqa import ClipIqa
from adapter.recipes.clip_iqa_table1 import KONIQ, NATIVE
from adapter.reproduction.recipe import Printed, Recipe, Row

if TYPE_CHECKING:
    from collections.abc import Mapping

RESNET: dict[str, str] = {"name": "RN50-quickgelu", "pretrained": "openai"}
VIT = {"name": "ViT-B-32-quickgelu", "pretrained": "openai"}
PLAIN = {"resize": "squash", "positions": "default"}
INTERPOLATED = {"resize": "native", "positions": "interpolated"}
WITHOUT = {"resize": "native", "positions": "none"}


def row(
    key: str,
    title: str,
    srcc: float,
    plcc: float,
    backbone: Mapping[str, Any],
    pair: tuple[str, str] = ("Good photo.", "Bad photo."),
    note: str = "",
) -> Row:
    """Return CLIP-IQA with one pair of prompts and one variant of the features."""
    return Row(
        key=key,
        title=title,
        method=ClipIqa(pairs=(pair,)),
        backbone=backbone,
        printed={KONIQ.key: {"srcc": Printed(mean=srcc), "plcc": Printed(mean=plcc)}},
        note=note,
    )


WORDING = "The paper gives the beginning of this template; the rest is ours."

RECIPE = Recipe(
    name="clip-iqa-table2",
    title="CLIP-IQA: prompts and features",
    source="Table 2 of Wang et al., AAAI 2023",
    tasks=(KONIQ,),
    rows=(
        row(
            *("a-photo-of", "“A photo of”", 0.116, 0.119, RESNET | WITHOUT),
            ("A photo of good.", "A photo of bad."),
            WORDING,
        ),
        row(
            *("there-is", "“There is”", 0.214, 0.217, RESNET | WITHOUT),
            ("There is good in the photo.", "There is bad in the photo."),
            WORDING,
        ),
        row("vit-plain", "ViT-B/32", 0.416, 0.464, VIT | PLAIN),
        row("vit-interpolated", "ViT-B/32, interpolated", 0.634, 0.643, VIT | INTERPOLATED),
        row("vit-none", "ViT-B/32, no positions", 0.391, 0.374, VIT | WITHOUT),
        row("rn50-plain", "ResNet-50", 0.383, 0.429, RESNET | PLAIN),
        row("rn50-interpolated", "ResNet-50, interpolated", 0.682, 0.690, RESNET | INTERPOLATED),
        row("clip-iqa", "ResNet-50, no positions (CLIP-IQA)", 0.695, 0.727, RESNET | WITHOUT),
    ),
    reference="clip-iqa",
    backbone=NATIVE,
    notes=("“As it is” is 224 x 224 pixels, which the paper does not say.",),
)
