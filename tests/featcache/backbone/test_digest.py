import hashlib
import struct

import torch
from hypothesis import given
from hypothesis import strategies as st

from featcache.backbone.digest import weights_digest


def test_is_the_documented_hash():
    tensors = {"b": torch.tensor([1.0, 2.0]), "a": torch.tensor(3, dtype=torch.int64)}
    expected = hashlib.sha256(
        b'["a", "int64", []]\n' + struct.pack("<q", 3)
        + b'["b", "float32", [2]]\n' + struct.pack("<ff", 1, 2)
    )  # fmt: skip
    assert weights_digest(tensors) == expected.hexdigest()


@given(order=st.permutations(["a", "b", "c"]))
def test_order_and_memory_layout_do_not_matter(order):
    values = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(2), "c": torch.zeros(1)}
    expected = weights_digest(values)
    shuffled = {name: values[name] for name in order}
    shuffled["a"] = values["a"].t().contiguous().t()
    assert weights_digest(shuffled) == expected


def test_half_precision_and_its_float32_copy_agree():
    half = {"a": torch.randn(5, generator=torch.Generator().manual_seed(0)).half()}
    assert weights_digest(half) == weights_digest({"a": half["a"].float()})


def test_name_shape_type_and_value_each_matter():
    base = weights_digest({"a": torch.zeros(4)})
    others = [
        {"b": torch.zeros(4)},
        {"a": torch.zeros(2, 2)},
        {"a": torch.zeros(4, dtype=torch.int32)},
        {"a": torch.tensor([0, 0, 0, 1e-30])},
        {"a": torch.zeros(4), "b": torch.zeros(0)},
    ]
    assert len({base, *map(weights_digest, others)}) == 6
