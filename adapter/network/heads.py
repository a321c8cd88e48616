"""The two multilayer perceptrons: a score for an image, a logit for a pair of images.

Released code, ``MLPLayer`` and ``PairwiseDiffBlockV2``; the layout of the ``Sequential`` gives
the parameter names of the published checkpoints.
"""

from __future__ import annotations

from torch import Tensor, nn


class MlpHead(nn.Module):
    """Hidden layers of [linear, layer norm, ReLU], then one linear output.

    Args:
        width: Channels D of the input and of the hidden layers.
        layers: Hidden layers.
        normalize_input: Start with a layer normalization (the pair head does).
    """

    def __init__(self, width: int, layers: int, *, normalize_input: bool = False) -> None:
        super().__init__()
        modules: list[nn.Module] = [nn.LayerNorm(width)] if normalize_input else []
        for _ in range(layers):
            modules += [nn.Linear(width, width), nn.LayerNorm(width), nn.ReLU()]
        self.pre_linear_block = nn.Sequential(*modules)
        self.output_head = nn.Linear(width, 1)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] → [...]."""
        out: Tensor = self.output_head(self.pre_linear_block(x))
        return out.squeeze(-1)
