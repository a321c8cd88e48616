"""From a tower's locations to the patch tokens that are stored.

- ``clip``: the tower's own projection at every location. Keeps the alignment with text.
- ``random:SEED``: a frozen linear map from W to the embedding's width, weights from a normal
  distribution of std 0.02 truncated at +-2, no bias. This is what the released code's
  ``timm_proj: ''`` amounts to: timm gives the trunk an untrained 1x1 convolution (``head.fc``)
  after the head's norm, and OpenCLIP's checkpoints hold no weights for it.
- ``checkpoint:FILE``: that map as a released checkpoint saved it.
- ``none``: the locations as they are (for ConvNeXt and ViT, normalized).

Only ConvNeXt has the choice of ``random`` and ``checkpoint``. Whatever the projection, tokens may
be averaged over K x K neighbors afterwards.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from featcache.backbone.checkpoint import read_weights
from featcache.backbone.digest import weights_digest
from featcache.backbone.spec import Projection
from featcache.errors import BackboneError

if TYPE_CHECKING:
    from featcache.backbone.towers import Tower

_FC = "visual.trunk.head.fc"


def make_projection(
    text: str, tower: Tower, embed_dim: int
) -> tuple[nn.Module | None, dict[str, Any]]:
    """Build a token projection.

    Args:
        text: As in `BackboneSpec.projection`.
        tower: The image tower, for its family and width W.
        embed_dim: Width of the pooled embedding, which ``random`` maps to.

    Returns:
        A linear map W -> C, or None where the tower's own projection, or none, is used; and what
        of it belongs to the backbone's identity (JSON values).

    Raises:
        BackboneError: If the tower has no such projection, or the checkpoint does not hold it.
    """
    projection = Projection.parse(text)
    identity: dict[str, Any] = {"kind": projection.kind}
    if projection.kind in ("clip", "none"):
        return None, identity
    if tower.family != "ConvNeXt":
        raise BackboneError(
            f"the projection {text!r} belongs to ConvNeXt towers; for a {tower.family} give "
            "clip or none"
        )
    if projection.seed is not None:
        linear = _random_linear(tower.width, embed_dim, projection.seed)
        identity["seed"] = projection.seed
    else:
        linear = _checkpoint_linear(Path(projection.file or ""), tower.width)
    identity["weights"] = weights_digest(linear.state_dict())
    return linear.eval().requires_grad_(False), identity


def pool_tokens(tokens: Tensor, grid: tuple[int, int], k: int) -> Tensor:
    """Average k x k neighboring tokens: [B, h * w, C] -> [B, (h / k) * (w / k), C], row-major."""
    if k == 1:
        return tokens
    (h, w), (B, _, C) = grid, tokens.shape
    blocks = tokens.reshape(B, h // k, k, w // k, k, C)  # [B, h/k, k, w/k, k, C]
    return blocks.mean(dim=(2, 4)).flatten(1, 2)  # [B, (h/k)(w/k), C]


def check_token_pool(grid: tuple[int, int], k: int) -> None:
    """Refuse a pooling that does not tile the grid."""
    if grid[0] % k or grid[1] % k:
        fits = [n for n in range(1, min(grid) + 1) if grid[0] % n == 0 and grid[1] % n == 0]
        raise BackboneError(
            f"--token-pool {k} does not divide the tower's grid of {grid[0]} x {grid[1]} tokens; "
            f"possible: {', '.join(map(str, fits))}"
        )


def _empty_linear(width: int, out: int) -> nn.Linear:
    """Return an uninitialized layer without drawing from torch's global generator."""
    linear: nn.Linear = nn.Linear(width, out, device="meta").to_empty(device="cpu")
    return linear


def _random_linear(width: int, out: int, seed: int) -> nn.Linear:
    linear = _empty_linear(width, out)
    # A generator of its own, on the CPU: the same map on every machine and in any program.
    generator = torch.Generator().manual_seed(seed)
    nn.init.trunc_normal_(linear.weight, std=0.02, generator=generator)
    nn.init.zeros_(linear.bias)
    return linear


def _checkpoint_linear(path: Path, width: int) -> nn.Linear:
    tensors = read_weights(path, "--projection checkpoint:")
    try:
        weight, bias = tensors[f"{_FC}.weight"].float(), tensors[f"{_FC}.bias"].float()
    except KeyError as error:
        raise BackboneError(
            f"checkpoint {path} holds no {error.args[0]}: for --projection checkpoint:FILE "
            "give a released checkpoint of a ConvNeXt backbone"
        ) from error
    if weight.ndim == 4 and weight.shape[2:] == (1, 1):  # a 1x1 convolution is a linear map
        weight = weight[:, :, 0, 0]  # [C, W]
    if weight.ndim != 2 or weight.shape[1] != width or bias.shape != weight.shape[:1]:
        raise BackboneError(
            f"checkpoint {path}: {_FC} has weight {list(weight.shape)} and bias "
            f"{list(bias.shape)}, expected [C, {width}, 1, 1] and [C]"
        )
    linear = _empty_linear(width, weight.shape[0])
    linear.load_state_dict({"weight": weight, "bias": bias})
    return linear
