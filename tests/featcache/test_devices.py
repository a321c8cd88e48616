"""Where a network computes, and how precisely."""

import pytest
import torch

from featcache.devices import autocast_for, choose_precision, pick_device
from featcache.errors import ConfigError

CPU = torch.device("cpu")


def test_devices():
    assert pick_device("cpu") == CPU
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(ConfigError, match="unknown device 'abacus'"):
        pick_device("abacus")
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="finds no usable CUDA"):
            pick_device("cuda")
    if not torch.backends.mps.is_available():
        with pytest.raises(ConfigError, match="no GPU of Apple's"):
            pick_device("mps")


def test_precisions():
    assert choose_precision("auto", CPU) == "fp32"
    assert choose_precision("bf16", CPU) == "bf16"


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)]
)
def test_a_context_may_be_used_again(precision, dtype):
    context = autocast_for(precision, CPU)
    weights = torch.ones(3, 3)
    for _ in range(2):
        with context:
            assert (weights @ weights).dtype == dtype
    assert (weights @ weights).dtype == torch.float32
