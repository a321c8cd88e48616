"""Which backbone: the values a user chooses, checked before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from featcache.backbone import embedded
from featcache.configuration import Configuration, newer
from featcache.errors import BackboneError
from featcache.images.preprocess import short_side

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_NAME = "convnext_large_d_320"
DEFAULT_PRETRAINED = "laion2b_s29b_b131k_ft_soup"

# Shipped as a config, its weights drawn from a seed: for tests, and to compare with.
DEMO_NAME = "demo-seeded-vit"

# OpenCLIP's prefixes for names that bring their own weights.
SCHEMAS = ("hf-hub:", "local-dir:")

Positions = Literal["default", "none", "interpolated"]
ProjectionKind = Literal["clip", "none", "random", "checkpoint"]


@dataclass(frozen=True, kw_only=True)
class Projection:
    """A parsed token projection: its kind, and the seed or the file that goes with it."""

    kind: ProjectionKind
    seed: int | None = None
    file: str | None = None

    @classmethod
    def parse(cls, text: str) -> Projection:
        """Parse ``clip``, ``none``, ``random:SEED`` or ``checkpoint:FILE``."""
        kind, separator, argument = text.partition(":")
        if kind == "clip" and not separator:
            return cls(kind="clip")
        if kind == "none" and not separator:
            return cls(kind="none")
        if kind == "random" and (seed := parse_seed(argument)) is not None:
            return cls(kind="random", seed=seed)
        if kind == "checkpoint" and argument:
            return cls(kind="checkpoint", file=argument)
        raise BackboneError(
            f"unknown token projection {text!r}: give clip, none, random:SEED or checkpoint:FILE"
        )


@dataclass(frozen=True, kw_only=True)
class BackboneSpec(Configuration):
    """Which backbone, with which weights; cache.json holds the same fields.

    Attributes:
        name: An OpenCLIP model name, ``hf-hub:OWNER/MODEL`` or ``local-dir:FOLDER``. Empty: the
            file name of ``model_config`` without .json, or else the default, ConvNeXt-L at 320 px.
        pretrained: An OpenCLIP tag, a local checkpoint (safetensors, or a file that torch loads
            with ``weights_only``), or ``seed:N`` for random weights. Empty only for
            the default name, which has a default tag, for ``drawn-scenes-clip``, whose weights
            are part of the package, and for a name with a prefix, whose weights come with it.
        model_config: Your own model config, in OpenCLIP's JSON format.
        projection: ``clip``, ``random:SEED``, ``checkpoint:FILE`` or ``none``: how the tower's
            last feature map becomes patch tokens; see `featcache.backbone.projection`.
        token_pool: K: each patch token is the mean of K x K neighbors.
        resize: ``squash``, ``native`` or ``short:N``: see `featcache.images.preprocess`.
        decode: ``exact``, ``scaled`` or ``gpu``: see `featcache.images.preprocess`.
        color: ``stored`` or ``srgb``: see `featcache.images.preprocess`.
        positions: ``default``: the tower's own positional embedding; ``none`` or
            ``interpolated``: see `featcache.backbone.positions`.
        tokens: ``patch`` keeps patch tokens and pooled embeddings; ``none`` keeps pooled
            embeddings only.
        text_weights: A file with other weights for the text tower: ``text_tower.safetensors`` of
            ``adapter convert``, or a whole released checkpoint.
    """

    _title: ClassVar[str] = "backbone settings"
    _error: ClassVar[type[Exception]] = BackboneError

    name: str = ""
    pretrained: str = ""
    model_config: str | None = None
    projection: str = "clip"
    token_pool: int = 1
    text_weights: str | None = None
    resize: str = newer("squash")
    decode: Literal["exact", "scaled", "gpu"] = newer("exact")
    color: Literal["stored", "srgb"] = newer("stored")
    positions: Literal["default", "none", "interpolated"] = newer("default")
    tokens: Literal["patch", "none"] = newer("patch")

    def __post_init__(self) -> None:
        """Fill in what follows from the other fields, and check all of them."""
        super().__post_init__()
        if not self.name:
            stem = Path(self.model_config).stem if self.model_config else DEFAULT_NAME
            object.__setattr__(self, "name", stem)
        if self.name == DEFAULT_NAME and not self.pretrained and not self.model_config:
            object.__setattr__(self, "pretrained", DEFAULT_PRETRAINED)
        if self.has_schema:
            if self.pretrained:
                raise BackboneError(
                    f"{self.name} brings its own weights: leave out --pretrained "
                    f"(found {self.pretrained!r})"
                )
            if self.model_config:
                raise BackboneError(f"{self.name} brings its own config: leave out --model-config")
        elif not self.pretrained and self.name != embedded.NAME:
            raise BackboneError(
                f"no weights for {self.name}: give --pretrained an OpenCLIP tag, a local file "
                "(--pretrained /path/to/open_clip_model.safetensors), or seed:N for random "
                "weights"
            )
        if self.pretrained.startswith("seed:") and self.seed is None:
            raise BackboneError(
                f"--pretrained {self.pretrained}: after 'seed:' a whole number from 0 to 2^63-1"
            )
        if self.token_pool < 1:
            raise BackboneError(f"--token-pool must be 1 or more, found {self.token_pool}")
        projection = Projection.parse(self.projection)
        short_side(self.resize)
        if self.tokens == "none" and (projection.kind != "clip" or self.token_pool > 1):
            raise BackboneError(
                "--tokens none stores no patch tokens: leave out --projection and --token-pool"
            )
        if self.resize != "squash" and self.tokens != "none":
            raise BackboneError(
                f"--resize {self.resize} gives images of different numbers of patch tokens, "
                "which one cache cannot hold: give --tokens none as well"
            )

    @property
    def has_schema(self) -> bool:
        """Whether the name itself says where config and weights come from."""
        return self.name.startswith(SCHEMAS)

    @property
    def seed(self) -> int | None:
        """N of ``seed:N``, or None when the weights are not random."""
        prefix, separator, argument = self.pretrained.partition(":")
        return parse_seed(argument) if separator and prefix == "seed" else None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from `to_dict`'s output; what an older cache does not have takes its default."""
        return cls.build(**values)


def parse_seed(text: str) -> int | None:
    """Return a seed that torch's generators accept, or None."""
    if not (text.isascii() and text.isdigit()):
        return None
    seed = int(text)
    return seed if seed < 2**63 else None
