"""Reads one variable of a MATLAB 5 file: numbers, logical values, text and cell arrays, which is what lists come in.

The format is that of MathWorks, MAT-File Format: a header of 128 bytes, then elements of a type, a size and data,
padded to 8 bytes; a variable is an element of elements. SciPy reads more of it, but one damaged byte can take the whole
process down in there.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from operator import mul
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
"""Type of an element to NumPy's type of its data, without the byte order."""
MATRIX, COMPRESSED = 14, 15
TEXT = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
CELL, CHAR, NUMERIC = 1, 4, range(6, 16)
"""Classes of arrays. The others, such as structures and sparse matrices, are not read."""
LARGEST = 1 << 27
"""Bytes that a compressed variable may unpack to; the largest list known has 3 million."""
DEEPEST = 3


@dataclass(frozen=True, slots=True)
class Element:
    """A piece of a file: its type and its bytes."""

    type: int
    data: memoryview


def read_variable(path: Path, name: str) -> tuple[NDArray[Any] | None, list[str]]:
    """(a variable, the names of all that are in the file); None where there is none of that name.

    Numbers come as (rows, columns), text as an array of a string each row, a cell array as an array of arrays. Raises
    ValueError that says what is wrong, NotImplementedError for MATLAB 7.3, OSError.
    """
    whole = path.read_bytes()
    version = whole[124:128]
    if whole.startswith(b"\x89HDF") or version in (b"\x00\x02IM", b"\x02\x00MI"):
        raise NotImplementedError("a file of MATLAB 7.3")
    if version not in (b"\x00\x01IM", b"\x01\x00MI"):
        raise ValueError("it does not begin like one")
    order = "<" if version.endswith(b"IM") else ">"
    names = []
    for element in _elements(memoryview(whole)[128:], order):
        inner = _unpacked(element, order)
        if inner.type == MATRIX:
            found, parts = _head(inner, order)
            names.append(found)
            if found == name:
                return _array(inner, parts, order, 0), names
    return None, names


def _elements(data: memoryview, order: str) -> Iterator[Element]:
    """The elements in a stretch of bytes, one after the other."""
    at = 0
    while at < len(data):
        if len(data) - at < 8:
            raise ValueError("it ends in the middle of an element")
        kind, size = struct.unpack_from(f"{order}II", data, at)
        start, padded = at + 8, size + (-size % 8 if kind != COMPRESSED else 0)
        if kind >> 16:  # a small one: size and type share four bytes, the data has the other four
            kind, size, start, padded = kind & 0xFFFF, kind >> 16, at + 4, 4
        if size > len(data) - start or (start == at + 4 and size > 4):
            raise ValueError("an element is longer than what holds it")
        yield Element(kind, data[start : start + size])
        at = start + padded


def _unpacked(element: Element, order: str) -> Element:
    if element.type != COMPRESSED:
        return element
    unpacker = zlib.decompressobj()
    try:
        data = unpacker.decompress(element.data, LARGEST)
    except zlib.error as error:
        raise ValueError(f"its compressed data are damaged, {error}") from error
    if unpacker.unconsumed_tail:
        raise ValueError(f"a variable unpacks to more than {LARGEST:,} bytes")
    return next(_elements(memoryview(data), order), element)


def _head(matrix: Element, order: str) -> tuple[str, list[Element]]:
    """(the name of an array, its elements)."""
    parts = list(_elements(matrix.data, order))
    if len(parts) < 3 or len(parts[0].data) < 8 or len(parts[1].data) % 4:
        raise ValueError("a variable lacks its head")
    return bytes(parts[2].data).decode("ascii", "replace"), parts


def _array(matrix: Element, parts: list[Element], order: str, depth: int) -> NDArray[Any]:
    kind = struct.unpack_from(f"{order}I", parts[0].data)[0] & 0xFF
    shape: tuple[int, ...] = tuple(np.frombuffer(parts[1].data, f"{order}i4").tolist())
    content = parts[3:]
    if len(shape) < 2 or min(shape) < 0 or (kind in (CHAR, *NUMERIC) and len(content) < 1 and _size(shape)):
        raise ValueError("a variable lacks its size or its data")
    if kind == CELL:
        return _cells(content, shape, order, depth)
    if kind == CHAR:
        return _text(content, shape, order)
    if kind not in NUMERIC:
        raise ValueError(f"it holds an array of class {kind}, and only numbers, text and cell arrays are read")
    return _numbers(content[0], order, shape) if content else np.zeros(shape)


def _cells(content: list[Element], shape: tuple[int, ...], order: str, depth: int) -> NDArray[Any]:
    if len(content) != _size(shape) or depth >= DEEPEST:
        raise ValueError(f"a cell array of {' x '.join(map(str, shape))} holds {len(content)} cells")
    out = np.empty(len(content), object)
    for at, cell in enumerate(content):
        if cell.type != MATRIX:
            raise ValueError("a cell holds no array")
        out[at] = _array(cell, _head(cell, order)[1], order, depth + 1) if len(cell.data) else np.zeros((0, 0))
    return out.reshape(shape, order="F")


def _text(content: list[Element], shape: tuple[int, ...], order: str) -> NDArray[Any]:
    """A string for each row."""
    if not _size(shape):
        return np.array([], str)
    coding = TEXT.get(content[0].type)
    if coding is None:
        raise ValueError(f"text of type {content[0].type} is not known")
    wide = coding in ("utf-16", "utf-32")
    text = bytes(content[0].data).decode(f"{coding}-{'le' if order == '<' else 'be'}" if wide else coding)
    if shape[0] == 1:
        return np.array([text])
    if len(text) != _size(shape):
        raise ValueError("text is longer or shorter than its size says")
    return np.array(["".join(row) for row in np.array(list(text)).reshape(shape[0], -1, order="F")])


def _numbers(element: Element, order: str, shape: tuple[int, ...]) -> NDArray[Any]:
    code = NUMBERS.get(element.type)
    if code is None or len(element.data) != _size(shape) * int(code[1]):
        raise ValueError("numbers are more or fewer than their size says, or of no known type")
    return np.frombuffer(element.data, order + code).reshape(shape, order="F")


def _size(shape: tuple[int, ...]) -> int:
    """How many values an array of this shape has; of Python's own integers, which damaged sizes cannot overflow."""
    return reduce(mul, shape, 1)
