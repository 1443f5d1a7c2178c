"""Tells a damaged index file before a native library reads it.

The seal is each file's size and the CRC-32 of its first and last 64 KiB: it catches truncation, an overwritten header
and a half-copied file at no cost. A flipped bit in the middle of a large file is not seen; `simsearch index --rebuild`
replaces every derived file.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping
from pathlib import Path

from simsearch.errors import IndexFileError

END_BYTES = 1 << 16


def seal(folder: Path) -> dict[str, list[int]]:
    """Size and CRC-32 of every file of a folder, by name."""
    return {path.name: _measure(path) for path in sorted(folder.iterdir()) if path.is_file()}


def check_seal(folder: Path, expected: Mapping[str, list[int]]) -> None:
    """Raises IndexFileError that names the first file which is missing or not what was sealed."""
    for name, measured in expected.items():
        path = folder / name
        try:
            found = _measure(path)
        except OSError as error:
            raise IndexFileError(f"{path} cannot be read: {error.strerror or error}") from error
        if found != list(measured):
            raise IndexFileError(f"{path} is damaged: it is not the file that was written ({found[0]} bytes)")


def _measure(path: Path) -> list[int]:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        checksum = zlib.crc32(file.read(END_BYTES))
        file.seek(max(0, size - END_BYTES))
        return [size, zlib.crc32(file.read(END_BYTES), checksum)]
