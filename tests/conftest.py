"""Every test computes with one thread and has no deadline, however pytest is called.

The last bits of features depend on the number of threads, some tests compare bytes with those of a
child process, and a child that is forked from a process with OpenMP threads hangs.

``make_icc`` and ``make_dng`` write what no repository should hold: a color profile, a raw file.
"""

import io
import os
import signal
import struct

import hypothesis
import numpy as np
import pytest

os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is imported, here and in child processes

# Speed is shown in benchmarks: a test that waits for a busy disk has not failed.
hypothesis.settings.register_profile("featcache", deadline=None)
hypothesis.settings.load_profile("featcache")


@pytest.fixture(autouse=True)
def signals_as_before():
    """A command that runs in this process sets its own handlers: take them away again."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


# Columns: red, green and blue of full strength as XYZ, relative to D50 (from SMPTE EG 432-1 and
# IEC 61966-2-1, adapted by Bradford).
DISPLAY_P3 = np.array(
    [[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]]
)
SRGB = np.array(
    [[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]]
)
SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


def icc(primaries=DISPLAY_P3, curve=SRGB_CURVE, space=b"RGB "):
    """Write a display profile of version 4: ICC.1:2010, 7.2, 8.3, 10.18 (para), 10.31 (XYZ)."""
    fixed = lambda values: struct.pack(f">{len(values)}i", *(round(v * 65536) for v in values))  # noqa: E731
    kind = 3 if len(curve) == 5 else 0
    curve_tag = b"para" + bytes(4) + struct.pack(">HH", kind, 0) + fixed(curve)
    text = "a profile".encode("utf-16-be")
    words = b"mluc" + bytes(4) + struct.pack(">IIHHII", 1, 12, 0x656E, 0x5553, len(text), 28) + text
    tags = {
        b"desc": words,
        b"cprt": words,
        b"wtpt": b"XYZ " + bytes(4) + fixed((0.9642, 1, 0.8249)),
    }
    if space == b"GRAY":
        tags[b"kTRC"] = curve_tag
    else:
        for at, name in enumerate((b"r", b"g", b"b")):
            tags[name + b"XYZ"] = b"XYZ " + bytes(4) + fixed(primaries[:, at])
            tags[name + b"TRC"] = curve_tag
    place, table, content = 132 + 12 * len(tags), b"", b""
    for name, value in tags.items():
        value += bytes(-len(value) % 4)
        table += name + struct.pack(">II", place + len(content), len(value))
        content += value
    size = place + len(content)
    head = struct.pack(">I4sI4s4s4s", size, bytes(4), 0x04200000, b"mntr", space, b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(24) + struct.pack(">I", 0)
    head += fixed((0.9642, 1.0, 0.8249)) + bytes(48)
    return head + struct.pack(">I", len(tags)) + table + content


def dng(width=96, height=64, orientation=1, preview=None, cut=0, taken=None):
    """Write a raw file: a sensor's values, left red and right blue; with a JPEG or none."""
    import tifffile

    scene = np.full((height, width, 3), 0.1)
    scene[:, : width // 2, 0] = scene[:, width // 2 :, 2] = 0.6
    values = np.empty((height, width))
    for row, column, channel in ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 2)):  # R G / G B
        values[row::2, column::2] = scene[row::2, column::2, channel]

    def ratios(numbers):
        return [n for number in numbers for n in (round(number * 10_000), 10_000)]

    to_camera = [3.2405, -1.5371, -0.4985, -0.9693, 1.8760, 0.0416, 0.0556, -0.2040, 1.0572]
    tags = [
        (274, 3, 1, orientation, True),
        (50706, 1, 4, bytes([1, 4, 0, 0]), True),  # DNGVersion
        (50708, 2, 0, "A camera", True),
        (50721, 10, 9, ratios(to_camera), True),  # ColorMatrix1: XYZ to the camera, here sRGB's
        (50728, 5, 3, ratios([1, 1, 1]), True),  # AsShotNeutral
        (50778, 3, 1, 21, True),  # D65
    ]
    pattern = [(33421, 3, 2, (2, 2), True), (33422, 1, 4, bytes([0, 1, 1, 2]), True)]
    levels = [(50714, 3, 1, 0, True), (50717, 3, 1, 16000, True)]
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        raw = {"photometric": 32803, "metadata": None, "compression": None}
        sensor = (values * 16000).astype(np.uint16)
        if preview is None:
            writer.write(sensor, extratags=[*tags, *pattern, *levels], datetime=taken, **raw)
        else:
            size = preview.index(b"\xff\xc0") + 5  # also that of one which is damaged further on
            down, across = struct.unpack(">HH", preview[size : size + 4])
            writer.write(
                iter([preview]),  # as it is
                shape=(down, across, 3),
                dtype=np.uint8,
                rowsperstrip=down,
                photometric="ycbcr",
                compression="jpeg",
                subifds=1,
                subfiletype=1,
                extratags=tags,
                metadata=None,
            )
            writer.write(sensor, extratags=[*pattern, *levels], **raw)
    content = file.getvalue()
    return content[: len(content) - cut]


@pytest.fixture
def make_icc():
    return icc


@pytest.fixture
def make_dng():
    return dng
