"""Image towers that give every location of their last map, next to the pooled embedding.

One forward pass, three families; `locations` are row-major, without CLS, without a positional
embedding added, not L2-normalized:

============  =============================  ==================================================
tower         locations                      `project` (token projection ``clip``)
============  =============================  ==================================================
ConvNeXt      map after ``head.norm``        OpenCLIP's ``head`` (mlp, linear), or timm's own fc
ViT           after ``ln_post``, CLS dropped ``@ proj``
timm ViT      after the trunk's norm         the heads, where they act on one token at a time
ResNet        ``layer4``, as it is           ``attnpool``'s value path: ``c_proj(v_proj(x))``
============  =============================  ==================================================

With ``positions`` other than ``default`` a ResNet or ViT reads images of any size, as
``positions.py`` says; so does a ConvNeXt by itself, which has no positions.

The value path is what the attention pool passes on of a single location, as dense CLIP (MaskCLIP,
Zhou et al. 2022, section 3.2) uses it: what pooling would give if it looked at that location only.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from timm.models.convnext import ConvNeXt
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer as TimmViT
from torch import Tensor, nn

from featcache.backbone.positions import has_plain_blocks, resnet_forward, vit_forward
from featcache.errors import BackboneError

if TYPE_CHECKING:
    from featcache.backbone.spec import Positions

_FITS_ONE_SIZE = (
    "adds a table of positions that fits one size: leave it out with --positions none, as CLIP-IQA "
    "does, or stretch it with --positions interpolated"
)


class Tower(nn.Module):
    """A frozen image tower: one pass to locations and pooled embedding.

    Attributes:
        grid: Height and width of the last map, in locations, at the tower's own image size.
        width: Channels W of a location.
        stride: Pixels for each location, in both directions; the least side of an image.
        any_size: Whether images of other sizes pass.
        refusal: Why images of other sizes do not; completes "it ...".
    """

    family: str
    grid: tuple[int, int]
    width: int
    stride: int
    any_size: bool = True
    refusal: str = ""

    @abstractmethod
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map images float32 [B, 3, S, S] to locations [B, P, W] and pooled [B, E]."""

    @abstractmethod
    def project(self, locations: Tensor) -> Tensor:
        """Apply the tower's own projection to every location: [B, P, W] -> [B, P, C]."""


class ConvNeXtTower(Tower):
    """A timm ConvNeXt in OpenCLIP's `TimmModel`.

    The pooled path is avg pool -> norm -> head; here the norm and the head act per location, so
    the mean token is close to the pooled embedding but not equal: neither is linear.
    """

    family = "ConvNeXt"

    def __init__(self, visual: TimmModel) -> None:
        super().__init__()
        self.visual = visual
        head = visual.trunk.head
        if not isinstance(getattr(head, "pre_logits", nn.Identity()), nn.Identity):
            raise BackboneError("ConvNeXt heads with a hidden layer of their own are not supported")
        if head.global_pool.is_identity():
            raise BackboneError(
                "this ConvNeXt tower does not pool (timm_pool and timm_proj are both empty), so "
                "it has no pooled embedding; use the config with timm_proj 'mlp' and "
                "--projection random:SEED or checkpoint:FILE"
            )
        # Present in NormMlpClassifierHead; variants that normalize before pooling have none here.
        self.norm: nn.Module = getattr(head, "norm", nn.Identity())
        self.stride = int(visual.trunk.feature_info[-1]["reduction"])
        side = visual.image_size[0] // self.stride
        self.grid = (side, side)
        self.width = int(visual.trunk.num_features)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """See `Tower.forward`."""
        features = self.visual.trunk.forward_features(images)  # [B, W, h, w]
        pooled = self.visual.head(self.visual.trunk.forward_head(features))  # [B, E]
        locations = self.norm(features).flatten(2).transpose(1, 2)  # [B, P, W]
        return locations, pooled

    def project(self, locations: Tensor) -> Tensor:
        """See `Tower.project`."""
        projected: Tensor = self.visual.head(self.visual.trunk.head.fc(locations))  # [B, P, C]
        return projected


class ViTTower(Tower):
    """OpenCLIP's own `VisionTransformer`, with any pool type but an attention pool."""

    family = "ViT"

    def __init__(self, visual: VisionTransformer, positions: Positions = "default") -> None:
        super().__init__()
        if visual.attn_pool is not None:
            raise BackboneError("ViT towers with an attentional pooler (CoCa) are not supported")
        if visual.pool_type not in ("tok", "avg"):
            raise BackboneError(f"ViT pool type {visual.pool_type!r} gives no pooled embedding")
        if positions != "default" and not has_plain_blocks(visual):
            raise BackboneError(
                f"--positions {positions} is for the blocks of CLIP's own ViT; this one has others"
            )
        self.visual = visual
        self.positions = positions
        self.grid = (int(visual.grid_size[0]), int(visual.grid_size[1]))
        self.width = int(visual.ln_post.weight.shape[0])
        self.stride = int(visual.patch_size[0])
        self.any_size = positions != "default"
        self.refusal = _FITS_ONE_SIZE

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """See `Tower.forward`."""
        if self.positions != "default":
            last, pooled = vit_forward(self.visual, images, self.positions)
            return self.visual.ln_post(last[:, 1:]), pooled  # [B, P, W], [B, E]
        output = self.visual.forward_intermediates(images, indices=1, output_fmt="NLC")
        locations = self.visual.ln_post(output["image_intermediates"][-1])  # [B, P, W]
        return locations, output["image_features"]

    def project(self, locations: Tensor) -> Tensor:
        """See `Tower.project`."""
        return locations if self.visual.proj is None else locations @ self.visual.proj


class TimmViTTower(Tower):
    """A timm ViT or EVA in OpenCLIP's `TimmModel` (EVA-CLIP, SigLIP, PE)."""

    family = "ViT"

    def __init__(self, visual: TimmModel) -> None:
        super().__init__()
        trunk = visual.trunk
        if not hasattr(trunk.patch_embed, "grid_size"):
            raise BackboneError("this timm ViT has no patch grid")
        self.visual = visual
        self.stride = int(trunk.patch_embed.patch_size[0])
        self.any_size = False
        self.refusal = "is a ViT of timm, which reads images of its own size only"
        self.grid = (int(trunk.patch_embed.grid_size[0]), int(trunk.patch_embed.grid_size[1]))
        self.width = int(trunk.num_features)
        # An attention pool mixes locations: after it, no projection acts on one token.
        self.per_token = getattr(trunk, "attn_pool", None) is None

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """See `Tower.forward`."""
        trunk = self.visual.trunk
        features = trunk.forward_features(images)  # [B, prefix + P, W]
        pooled = self.visual.head(trunk.forward_head(features))  # [B, E]
        return features[:, trunk.num_prefix_tokens :], pooled

    def project(self, locations: Tensor) -> Tensor:
        """See `Tower.project`; towers with an attention pool have none, the identity."""
        if not self.per_token:
            return locations
        trunk = self.visual.trunk
        projected: Tensor = self.visual.head(trunk.head(trunk.fc_norm(locations)))  # [B, P, C]
        return projected


class ResNetTower(Tower):
    """OpenAI's modified ResNet; the positional embedding of its pool is left out."""

    family = "ResNet"

    stride = 32

    def __init__(self, visual: ModifiedResNet, positions: Positions = "default") -> None:
        super().__init__()
        self.visual = visual
        self.positions = positions
        size = visual.image_size
        side = (size if isinstance(size, int) else size[0]) // self.stride
        self.grid = (side, side)
        self.width = int(visual.attnpool.v_proj.in_features)
        self.any_size = positions != "default"
        self.refusal = _FITS_ONE_SIZE

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """See `Tower.forward`."""
        if self.positions != "default":
            features, pooled = resnet_forward(self.visual, images, self.positions)
            return features.flatten(2).transpose(1, 2), pooled  # [B, P, W], [B, E]
        output = self.visual.forward_intermediates(images, indices=1)
        features = output["image_intermediates"][-1]  # [B, W, h, w]
        return features.flatten(2).transpose(1, 2), output["image_features"]  # [B, P, W], [B, E]

    def project(self, locations: Tensor) -> Tensor:
        """See `Tower.project`."""
        pool = self.visual.attnpool
        projected: Tensor = pool.c_proj(pool.v_proj(locations))  # [B, P, C]
        return projected


def make_tower(visual: Any, name: str, positions: Positions = "default") -> Tower:
    """Return the dense form of an OpenCLIP image tower.

    Args:
        visual: The tower.
        name: The model's, for messages.
        positions: What becomes of its positional embedding.

    Raises:
        BackboneError: If the tower's family is not known, it has no pooled embedding, or it cannot
            do with other positions.
    """
    if isinstance(visual, VisionTransformer):
        return ViTTower(visual, positions)
    if isinstance(visual, ModifiedResNet):
        return ResNetTower(visual, positions)
    if isinstance(visual, TimmModel):
        if isinstance(visual.trunk, ConvNeXt):
            _require_default(positions, f"{name} is a ConvNeXt, which has no positions to drop")
            return ConvNeXtTower(visual)
        if isinstance(visual.trunk, (TimmViT, Eva)):
            _require_default(
                positions, f"{name} is a ViT of timm, which adds its positions by itself"
            )
            return TimmViTTower(visual)
        kind = type(visual.trunk).__name__
    else:
        kind = type(visual).__name__
    raise BackboneError(
        f"{name}: image towers of type {kind} are not supported; "
        "take a ConvNeXt, ViT or ResNet of OpenCLIP"
    )


def _require_default(positions: Positions, reason: str) -> None:
    if positions != "default":
        raise BackboneError(
            f"{reason}: leave out --positions {positions}, or take a ResNet or ViT of OpenCLIP"
        )
