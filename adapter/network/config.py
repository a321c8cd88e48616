"""What an adapter consists of: every choice between the paper and the released code, by name.

Two forms: ``released`` (the one that the published checkpoints hold) and ``paper`` (what the text
says). The preset ``best`` has the network of ``released``. Each row of the paper's ablations is one
of the two forms with a field changed; ``docs/paper-to-code.md`` lists them.

    AdapterConfig.released(image_dim=512)
    AdapterConfig.paper().replace(relation_tokens=4)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from adapter.errors import ConfigError
from featcache.configuration import Configuration, newer

if TYPE_CHECKING:
    from adapter.network.losses import LossConfig

PairHeadKind = Literal["relational", "product", "concat", "self", "subtract", "none"]
PromptForm = Literal["vector", "scalar"]
PromptPosition = Literal["before", "after"]
Pool = Literal["sum", "mean"]


@dataclass(frozen=True, kw_only=True)
class AdapterConfig(Configuration):
    """The adapter's architecture. Defaults are those of :meth:`released`.

    Attributes:
        image_dim: Channels C of the cached patch tokens.
        text_dim: Channels D of the cached prompt tokens.
        width: Channels d' inside the adapter.
        project_inputs: Map both inputs linearly even where their width is already d'. Where it
            is not, they are always mapped.
        standardize: Before anything else, subtract from each channel of the image tokens a mean,
            and divide by a deviation. Training takes both from the training images and keeps
            them beside the weights. Channels that differ in scale are then learned equally fast.
        heads: Attention heads of the encoder.
        mlp_ratio: Hidden width of the encoder's MLPs, in units of d'.
        blocks: Encoding blocks, each self-attention then cross-attention to the prompt.
        prompt_tokens: Learnable tokens beside those of the prompt; 0 for none.
        prompt_form: ``vector`` learns d' numbers per token. ``scalar`` learns one number per
            token and repeats it over the channels, as the released code does; the layer
            normalization of the keys then removes it, so that such tokens learn nothing. It is
            there to load published checkpoints.
        prompt_position: Learnable tokens come before (released) or after (paper) the prompt's.
            Attention does not depend on the order of its keys, so this names the layout only.
        post_blocks: Post-norm transformer layers after the encoder (not in the paper).
        dropout: Dropout inside those layers, in training.
        pair_head: How two images are compared. ``relational``: relational tokens attend to both
            images, the two parts are subtracted (the method). ``product``: the parts are added,
            that is O = A V (Table 6). ``concat``: the parts are concatenated (Table 6).
            ``self``: self-attention over both images' tokens (Table 6). ``subtract``: mean
            tokens are subtracted, without attention (Table 5). ``none``: no ranking head.
        relation_tokens: Relational tokens M.
        relation_heads: Heads of the relational attention.
        relation_projections: Learn query, shared key-value and output maps with normalization
            (released); without, keys and values are the encoder's tokens themselves (paper).
        relation_pool: How the M results are pooled.
        pair_layers: Hidden layers of the MLP that turns a comparison into a logit.
        score_head: Whether there is a regression head.
        score_pool: How its input is pooled over patch tokens.
        score_layers: Hidden layers of the regression head.
    """

    _title: ClassVar[str] = "adapter configuration"
    _error: ClassVar[type[Exception]] = ConfigError

    image_dim: int = 768
    text_dim: int = 768
    width: int = 768
    project_inputs: bool = False
    standardize: bool = newer(False)
    heads: int = 8
    mlp_ratio: float = 4.0
    blocks: int = 2
    prompt_tokens: int = 32
    prompt_form: PromptForm = "vector"
    prompt_position: PromptPosition = "before"
    post_blocks: int = 2
    dropout: float = 0.1
    pair_head: PairHeadKind = "relational"
    relation_tokens: int = 16
    relation_heads: int = 8
    relation_projections: bool = True
    relation_pool: Pool = "sum"
    pair_layers: int = 3
    score_head: bool = True
    score_pool: Pool = "sum"
    score_layers: int = 2

    @classmethod
    def released(
        cls, *, image_dim: int = 768, text_dim: int = 768, width: int = 768, **changes: Any
    ) -> Self:
        """Return the form of the released code (``clip_model_adapter.py``).

        One thing differs: prompt tokens are vectors, because the released scalars cannot learn.
        ``prompt_form="scalar"`` gives exactly what a published checkpoint holds.
        """
        return cls.build(image_dim=image_dim, text_dim=text_dim, width=width, **changes)

    @classmethod
    def paper(
        cls, *, image_dim: int = 768, text_dim: int = 768, width: int = 512, **changes: Any
    ) -> Self:
        """Return the form that the paper's text describes (arXiv 2412.06760)."""
        described: dict[str, Any] = {
            "prompt_position": "after",
            "post_blocks": 0,
            "relation_heads": 1,
            "relation_projections": False,
            "relation_pool": "mean",
            "score_pool": "mean",
        }
        dims = {"image_dim": image_dim, "text_dim": text_dim, "width": width}
        return cls.build(**(dims | described | changes))

    best = released  # the preset that differs in training, not in the network

    @property
    def maps_image(self) -> bool:
        """Whether image tokens pass a linear map into d'."""
        return self.project_inputs or self.image_dim != self.width

    @property
    def maps_text(self) -> bool:
        """Whether prompt tokens pass a linear map into d'."""
        return self.project_inputs or self.text_dim != self.width

    def __post_init__(self) -> None:
        """Refuse impossible values, naming the field."""
        super().__post_init__()
        self._require_at_least(
            1, "image_dim", "text_dim", "width", "heads", "relation_heads", "relation_tokens"
        )
        self._require_at_least(
            0, "prompt_tokens", "blocks", "post_blocks", "pair_layers", "score_layers"
        )
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout must be at least 0 and below 1, not {self.dropout!r}")
        if not self.mlp_ratio * self.width >= 1:
            raise ConfigError(f"mlp_ratio must leave a hidden layer, not {self.mlp_ratio!r}")
        for name in ("heads", "relation_heads"):
            if self.width % getattr(self, name):
                raise ConfigError(
                    f"width {self.width} cannot be split into {getattr(self, name)} {name}; "
                    "choose a multiple"
                )
        if self.pair_head == "none" and not self.score_head:
            raise ConfigError("pair_head none with score_head false leaves nothing to train")


def match_heads(model: AdapterConfig, loss: LossConfig) -> tuple[AdapterConfig, LossConfig]:
    """Switch off heads that no loss trains, and losses whose head is off.

    Raises:
        ConfigError: Nothing is left to train.
    """
    if model.pair_head == "none" and loss.needs_pairs:
        if not loss.needs_scores:
            raise ConfigError("the only loss is a ranking loss, and pair_head is none")
        loss = loss.replace(ranking="none")
    if not model.score_head and loss.needs_scores:
        if not loss.needs_pairs:
            raise ConfigError("the only loss is on scores, and score_head is off")
        loss = loss.replace(regression="none", presence=False)
    if not loss.needs_pairs and model.pair_head != "none":
        model = model.replace(pair_head="none")
    if not loss.needs_scores and model.score_head:
        model = model.replace(score_head=False)
    return model, loss
