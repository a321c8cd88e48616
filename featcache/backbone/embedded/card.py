"""The model card of `drawn-scenes-clip`: what made it, and what it knows.

    python -m featcache.backbone.embedded.card

measures the shipped weights on scenes that they were not trained on, prints the card and writes it
to `CARD.md`. What made the weights stands in the header of their file.
"""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import safe_open

from featcache.backbone.embedded import CARD, NAME, WEIGHTS
from featcache.backbone.embedded.measures import measure_backbone
from featcache.backbone.model import load_backbone
from featcache.backbone.spec import BackboneSpec
from featcache.datasets.scenes.seeds import CLIP_TEST
from featcache.devices import machine, pick_device
from featcache.errors import BackboneError
from featcache.storage.durable import write_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from featcache.backbone.embedded.measures import Figure

_INTRODUCTION = """\
A small CLIP, trained from scratch by this project on scenes that this project draws: colored cubes,
spheres and cylinders on a background, with blur, noise, blocks, exposure and films of ten decades.
**It is not OpenAI's CLIP, nor one of LAION's**, and knows nothing of photographs: it is there so
that the demo and the miniatures of data sets run on aligned features without any download. Words
that no caption of its training has are unknown to it, with an embedding of zeros.

    featcache extract --backbone drawn-scenes-clip ...
"""


def training_of(weights: Path) -> dict[str, Any]:
    """Read what made a file of weights.

    Raises:
        BackboneError: The file does not say.
    """
    with safe_open(weights, framework="pt") as stream:
        metadata = stream.metadata() or {}
    if "training" not in metadata:
        raise BackboneError(f"{weights}: does not say what made it; expected weights of {NAME}")
    training: dict[str, Any] = json.loads(metadata["training"])
    return training


def write_card(
    training: dict[str, Any], figures: Sequence[Figure], random: Sequence[Figure], scenes: int
) -> str:
    """Return the card as Markdown.

    Args:
        training: From `training_of`.
        figures: Of the trained weights.
        random: The same of random weights, in the same order.
        scenes: How many they were measured on.
    """
    config = training["config"]
    losses = ", ".join(f"{name} {value:.3f}" for name, value in training["losses"].items())
    lines = [
        f"# {NAME}",
        "",
        _INTRODUCTION,
        "## Training",
        "",
        f"- command: `{training['command']}`",
        f"- machine: {training['machine']}; {training['hours']} hours, ended {training['date']}",
        f"- {config['steps']:,} steps, {training['images']:,} images",
        f"- losses at the end: {losses}",
        *([f"- {training['note']}"] if training["note"] else []),
        "",
        "## What it knows",
        "",
        f"On {scenes:,} scenes of another seed, measured by `make model-card`.",
        "*Random* is the same architecture with random weights.",
        "",
        "| | measure | drawn-scenes-clip | random | chance |",
        "|---|---|---:|---:|---:|",
    ]
    pairs = list(zip(figures, random, strict=True))
    for group, members in groupby(pairs, key=lambda pair: pair[0].group):
        lines.append(f"| **{group}** | | | | |")
        for one, other in members:
            values = " | ".join(f"{value:.3f}" for value in (one.value, other.value, one.chance))
            lines.append(f"| {one.name} | {one.measure} | {values} |")
    now = datetime.now(UTC).date().isoformat()
    return "\n".join((*lines, "", f"Measured {now} on {machine(pick_device('cpu'))}.", ""))


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m featcache.backbone.embedded.card",
        description=f"Measure {NAME} on unseen scenes, print its model card and write it.",
    )
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help=f"file [{WEIGHTS.name}]")
    parser.add_argument("--out", type=Path, default=CARD, help=f"file of the card [{CARD.name}]")
    parser.add_argument("--scenes", type=int, default=1000, help="a multiple of 100 [1000]")
    options = parser.parse_args()
    if options.scenes < 200 or options.scenes % 100:
        parser.error("--scenes: a multiple of 100, from 200")
    figures, random = (
        measure_backbone(
            load_backbone(BackboneSpec(name=NAME, pretrained=pretrained)),
            seed=CLIP_TEST[0],
            scenes=options.scenes,
        )
        for pretrained in (str(options.weights), "seed:0")
    )
    card = write_card(training_of(options.weights), figures, random, options.scenes)
    write_bytes(options.out, card.encode())
    print(card)


if __name__ == "__main__":
    main()
