import numpy as np
import pytest
import torch  # noqa: F401  here, so that no test waits for it
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from featcache.storage.quantize import dequantize, quantize

TOKENS = arrays.arrays(
    np.float32, (3, 8), elements=st.floats(-1e4, 1e4, width=32, allow_subnormal=False)
)


@given(tokens=TOKENS)
def test_error_is_at_most_half_a_step_of_each_token(tokens):
    stored, scales = quantize(tokens)
    out = np.empty(tokens.shape, np.float32)
    dequantize(stored, scales, out)
    assert stored.dtype == np.int8
    assert scales.shape == tokens.shape[:-1]
    step = scales[:, None].astype(np.float64)
    assert (np.abs(out - tokens) <= 0.5001 * step + 1e-6 * np.abs(tokens)).all()


def test_the_largest_channel_uses_the_whole_range():
    stored, scales = quantize(np.array([[-2.0, 1.0, 0.0]], np.float32))
    assert stored.tolist() == [[-127, 64, 0]]
    assert scales == pytest.approx([2 / 127])


def test_a_token_of_zeros_stays_one():
    stored, scales = quantize(np.zeros((2, 4), np.float32))
    out = np.ones((2, 4), np.float16)
    dequantize(stored, scales, out)
    assert not out.any()
    assert np.isfinite(scales).all()


@pytest.mark.parametrize("shape", [(3, 100, 768), (2, 5, 40_000), (0, 4, 8)])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_bits_are_those_of_numpy(shape, dtype):
    """Larger than what torch gives to one thread, and not a multiple of it."""
    tokens = np.random.default_rng(0).normal(size=shape).astype(np.float32) * 100
    stored, scales = quantize(tokens)
    expected = np.empty(shape, dtype)
    np.multiply(stored, scales[..., None], out=expected, casting="unsafe")
    stored.flags.writeable = False  # as in a mapped file
    for out in (np.empty(shape, dtype), np.empty((*shape, 2), dtype)[..., 0]):
        dequantize(stored, scales, out)
        np.testing.assert_array_equal(out, expected)
