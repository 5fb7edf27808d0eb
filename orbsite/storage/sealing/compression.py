"""Compression with Zstandard. A frame has a checksum and its content size, so that damage and bombs are recognized."""

from __future__ import annotations

import sys

from orbsite.storage.errors import DocumentCorrupt

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

SAFE_SIZE = 64 * 1024 * 1024
"""Bytes up to which content of any ratio is decompressed."""
MOST_RATIO = 256
"""The limit on larger content, relative to the frame."""
_LEVEL = 3
_WINDOW_LOG = 23
"""Frames that need a larger window than 8 MiB are refused."""
WRITE: dict[int, int] = {
    zstd.CompressionParameter.compression_level: _LEVEL,
    zstd.CompressionParameter.checksum_flag: 1,
    zstd.CompressionParameter.content_size_flag: 1,
}
READ: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _WINDOW_LOG}


def compress(data: bytes) -> bytes | None:
    """Return a frame with these bytes; None if they shrink so much that `decompress` would refuse the frame."""
    frame = zstd.compress(data, options=WRITE)
    return None if _is_bomb(len(data), len(frame)) else frame


def decompress(frame: bytes) -> bytes:
    """Return the content of a frame. Raises DocumentCorrupt if it is cut, damaged, too large, or not the only one."""
    try:
        size = zstd.get_frame_info(frame).decompressed_size
        if size is None:
            raise DocumentCorrupt("its compressed content has no size")
        if _is_bomb(size, len(frame)):
            raise DocumentCorrupt(f"{len(frame):,} compressed bytes claim to hold {size:,}, which is not plausible")
        decompressor = zstd.ZstdDecompressor(options=READ)
        data = decompressor.decompress(frame, max_length=size + 1)
    except zstd.ZstdError as problem:
        raise DocumentCorrupt(f"its compressed content is damaged: {problem}") from problem
    if not decompressor.eof or len(data) != size:
        raise DocumentCorrupt("its compressed content is cut short")
    if decompressor.unused_data:
        raise DocumentCorrupt("other bytes follow its compressed content")
    return data


def _is_bomb(size: int, compressed: int) -> bool:
    return size > max(SAFE_SIZE, MOST_RATIO * compressed)
