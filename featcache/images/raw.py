"""Raw files of cameras through rawpy and LibRaw (the extra ``photos``).

A raw file holds what the sensor measured, and mostly a JPEG that the camera made of it. That JPEG
is taken where it is at least as large as half of each side; otherwise the raw is developed at half
its size: the camera's white balance, sRGB, 8 bits, LibRaw's brightness. The choice depends on the
file alone.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Self

from PIL import Image

from featcache.errors import ImageError
from featcache.images.heif import HOW
from featcache.images.tiff import holds_sensor_values

if TYPE_CHECKING:
    from types import TracebackType

# What files begin with that are no TIFF, or hide that they are: Fuji, Olympus, Panasonic.
_STARTS = (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0")
_CANON = b"ftypcrx "  # CR3, from the fifth byte on

# LibRaw's turn: 1 mirrors columns, 2 mirrors rows, 4 then swaps the two.
_TRANSPOSE = {
    1: Image.Transpose.FLIP_LEFT_RIGHT,
    2: Image.Transpose.FLIP_TOP_BOTTOM,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.TRANSPOSE,
    5: Image.Transpose.ROTATE_90,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
}
_SWAPS = 4


def is_raw(data: bytes) -> bool:
    """Tell by its content whether a file is a camera's raw file, whatever it is called."""
    if data.startswith(_STARTS) or data[4:12] == _CANON:
        return True
    return data[:2] in (b"II", b"MM") and holds_sensor_values(data)


class Raw:
    """An open raw file; use it in a ``with`` statement.

    Attributes:
        width: Of the upright picture at full size, in pixels.
        height: Likewise.
        across: Pixels of a row, as the sensor stored them.
        down: Rows, likewise.
    """

    def __init__(self, data: bytes, max_pixels: int) -> None:
        """Read the header; raises ImageError where that fails, or the picture is too large."""
        try:
            import rawpy
        except ImportError as error:
            raise ImageError(f"raw files of cameras need rawpy: {HOW}") from error
        self._errors: Any = (rawpy.LibRawError, ValueError, MemoryError)
        self._rawpy: Any = rawpy
        try:
            self._raw: Any = rawpy.imread(io.BytesIO(data))
        except self._errors as error:
            raise ImageError(f"the raw file cannot be read: {_reason(error)}") from error
        sizes = self._raw.sizes
        self._turn, self.across, self.down = int(sizes.flip), int(sizes.width), int(sizes.height)
        self.width, self.height = self.across, self.down
        if self._turn & _SWAPS:
            self.width, self.height = self.height, self.width
        if self.width * self.height > max_pixels:
            self._raw.close()
            raise ImageError(
                f"too large: {self.width} x {self.height} pixels, over the limit of "
                f"{max_pixels:,} (max_pixels)"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._raw.close()

    def preview(self) -> bytes | None:
        """Return the JPEG that the camera made; None where there is none, or one without bytes."""
        try:
            found = self._raw.extract_thumb()
        except self._errors:
            return None  # it is developed then, and what is damaged is told there
        jpeg = found.format == self._rawpy.ThumbFormat.JPEG
        return bytes(found.data) if jpeg and len(found.data) else None

    def large_enough(self, width: int, height: int) -> bool:
        """Tell whether a preview of this size is at least a half-size development."""
        return max(width, height) >= max(self.width, self.height) // 2

    def develop(self) -> Image.Image:
        """Develop at half the size, as stored by the sensor; raises ImageError."""
        try:
            pixels = self._raw.postprocess(
                half_size=True,
                use_camera_wb=True,
                output_color=self._rawpy.ColorSpace.sRGB,
                output_bps=8,
                user_flip=0,
            )  # [H, W, 3]
        except self._errors as error:
            raise ImageError(f"the raw file cannot be developed: {_reason(error)}") from error
        return Image.fromarray(pixels)

    def upright(self, image: Image.Image) -> Image.Image:
        """Turn a picture as the sensor stored it; a preview may stand upright already."""
        swaps = bool(self._turn & _SWAPS)
        turned = (image.width > image.height) != (self.across > self.down)
        operation = _TRANSPOSE.get(self._turn)
        return image if operation is None or (swaps and turned) else image.transpose(operation)


def _reason(error: Exception) -> str:
    """Return LibRaw's text, which comes as bytes."""
    text = error.args[0] if error.args else ""
    return text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text) or "damaged"
