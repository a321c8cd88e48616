"""Every method by its name: what it needs, where it comes from, and under which license.

``adapter methods`` prints this; ``adapter fit NAME`` and ``methods.get(NAME)`` make one.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from adapter.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from adapter.methods.method import Method

OWN_CODE = "written from the equations"


@dataclass(frozen=True, kw_only=True)
class MethodInfo:
    """What a person should know before choosing a method.

    Attributes:
        name: Of the command line.
        title: In print.
        module: Where its dataclass is.
        factory: Name of the dataclass.
        defaults: Fields that this name sets.
        needs: What it needs beside pooled embeddings.
        source: The paper.
        license: Of the authors' code, and what follows from it.
    """

    name: str
    title: str
    module: str
    factory: str
    defaults: Mapping[str, Any] = field(default_factory=dict)
    needs: str
    source: str
    license: str


_CLASSES = "labels, class words, an aligned text tower"
_LABELS = "labels"

METHODS: dict[str, MethodInfo] = {
    found.name: found
    for found in (
        MethodInfo(
            name="zero-shot",
            title="CLIP, zero-shot",
            module="zero_shot",
            factory="ZeroShot",
            needs="class words, an aligned text tower",
            source="Radford et al., ICML 2021",
            license="MIT",
        ),
        MethodInfo(
            name="clip-iqa",
            title="CLIP-IQA",
            module="clip_iqa",
            factory="ClipIqa",
            needs="a pair of opposite prompts, an aligned text tower",
            source="Wang et al., AAAI 2023",
            license=f"S-Lab 1.0, non-commercial; {OWN_CODE}",
        ),
        MethodInfo(
            name="clip-iqa-plus",
            title="CLIP-IQA+",
            module="clip_iqa",
            factory="ClipIqaPlus",
            needs="labels, a pair of opposite prompts, an aligned text tower",
            source="Wang et al., AAAI 2023",
            license=f"S-Lab 1.0, non-commercial; {OWN_CODE}",
        ),
        MethodInfo(
            name="coop",
            title="CoOp",
            module="coop",
            factory="CoOp",
            needs=_CLASSES,
            source="Zhou et al., IJCV 2022",
            license="MIT",
        ),
        MethodInfo(
            name="coop-printed",
            title="CoOp, as the ordinal papers ran it",
            module="coop",
            factory="CoOpPrinted",
            needs=_CLASSES,
            source="Li et al., NeurIPS 2022, code",
            license="MIT",
        ),
        MethodInfo(
            name="ordinal-clip",
            title="OrdinalCLIP",
            module="ordinal_clip",
            factory="OrdinalClip",
            needs="labels, an aligned text tower",
            source="Li et al., NeurIPS 2022",
            license="MIT",
        ),
        MethodInfo(
            name="l2rclip",
            title="L2RCLIP, first stage",
            module="l2rclip",
            factory="L2RClip",
            needs=_CLASSES,
            source="Wang et al., NeurIPS 2023",
            license="MIT; losses only are published",
        ),
        MethodInfo(
            name="numclip",
            title="NumCLIP",
            module="numclip",
            factory="NumClip",
            needs="labels, words of coarse classes, an aligned text tower",
            source="Du et al., ECCV 2024",
            license=f"none given; {OWN_CODE}",
        ),
        MethodInfo(
            name="clip-tuned",
            title="CLIP, tuned",
            module="clip_tuned",
            factory="ClipTuned",
            needs="labels, an aligned text tower",
            source="this project's definition of the papers' fine-tuned CLIP",
            license="MIT, as this project",
        ),
        MethodInfo(
            name="countingclip",
            title="CountingCLIP",
            module="clip_tuned",
            factory="ClipTuned",
            defaults={"counterfactual": 1.0},
            needs="labels that are counts, an aligned text tower",
            source="Paiss et al., ICCV 2023",
            license=f"no official code; {OWN_CODE}",
        ),
        MethodInfo(
            name="tmcr-frozen",
            title="TMCR on frozen features",
            module="tmcr",
            factory="Tmcr",
            needs="labels, patch tokens, an aligned text tower",
            source="TMCR, ACM MM 2024",
            license=f"none given; {OWN_CODE}; its tag files are not shipped",
        ),
        MethodInfo(
            name="ridge",
            title="Ridge regression",
            module="ridge",
            factory="RidgeProbe",
            needs=_LABELS,
            source="Hoerl and Kennard, Technometrics 1970",
            license="MIT, as this project",
        ),
        MethodInfo(
            name="softmax",
            title="Softmax regression",
            module="linear",
            factory="LinearProbe",
            needs=_LABELS,
            source="Radford et al., ICML 2021, A.3",
            license="MIT, as this project",
        ),
        MethodInfo(
            name="adapter",
            title="Ranking-aware adapter",
            module="adapter",
            factory="Adapter",
            needs="labels, patch tokens",
            source="Yu et al., ICLR 2025",
            license="Apache-2.0; written from scratch",
        ),
    )
}


def names() -> tuple[str, ...]:
    """Return the names of all methods."""
    return tuple(METHODS)


def info(name: str) -> MethodInfo:
    """Return what is known of a method.

    Raises:
        ConfigError: There is none of this name.
    """
    if name not in METHODS:
        raise ConfigError(f"there is no method {name!r}; there are {', '.join(METHODS)}")
    return METHODS[name]


def get(name: str, **settings: Any) -> Method:
    """Make a method by name.

    Args:
        name: One of :func:`names`.
        **settings: Hyperparameters; the method's docstring lists them.

    Raises:
        ConfigError: There is no such method or setting, or a value is impossible.
    """
    about = info(name)
    factory = getattr(import_module(f"adapter.methods.{about.module}"), about.factory)
    known = {f.name for f in dataclasses.fields(factory)} - {"needs_text"}
    if unknown := sorted(settings.keys() - known):
        raise ConfigError(
            f"{name} has no setting {unknown[0]!r}; it has {', '.join(sorted(known))}"
        )
    return cast("Method", factory(**{**about.defaults, **settings}))
