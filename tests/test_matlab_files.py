"""The reader of MATLAB 5 files against SciPy's, by value, and on damaged files, which SciPy does not always survive."""

from __future__ import annotations

import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from simsearch.indexer.sources.matlab import read_variable


def cells(*values: Any, shape: tuple[int, int] | None = None) -> np.ndarray:
    out = np.empty(len(values), object)
    out[:] = values
    return out.reshape(shape or (len(values), 1))


ARRAYS = {
    "doubles": np.arange(12.0).reshape(3, 4),
    "logical": np.array([[True, False, True]]),
    "one number": np.array([[7]], np.uint8),
    "none": np.zeros((0, 3)),
    "three dimensions": np.arange(24, dtype=np.int16).reshape(2, 3, 4),
    "cells of text": cells("A_1.jpg", "ÉDOUARD_2.jpg", "x" * 300, "ab", ""),
    "cells in rows and columns": cells("a", "bb", "ccc", "d", "e", "f", shape=(2, 3)),
    "cells of numbers": cells(np.arange(3.0), np.array([[1]], np.int8)),
    "cells in cells": cells(cells("a", "b"), cells("c")),
    "rows of text": np.array(["one", "three"]),
    "text": np.array(["ÉDOUARD"]),
} | {code: np.array([[1, 2, 100]], code) for code in ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8")}


def same(ours: np.ndarray, theirs: np.ndarray) -> bool:
    """Whether two arrays hold the same, cell by cell; blanks that fill up rows of text are none."""
    if ours.dtype == object:
        return ours.shape == theirs.shape and all(map(same, ours.ravel(), theirs.ravel()))
    if ours.dtype.kind == "U" or theirs.dtype.kind == "U":
        return [str(row).rstrip() for row in ours.ravel()] == [str(row).rstrip() for row in theirs.ravel()]
    return ours.shape == theirs.shape and bool((ours == theirs).all())


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("what", ARRAYS)
def test_a_variable_is_read_as_scipy_reads_it(tmp_path: Path, what: str, compressed: bool) -> None:
    path = tmp_path / "x.mat"
    savemat(path, {"before": np.eye(3), "x": ARRAYS[what], "after": cells("y")}, do_compression=compressed)
    ours, names = read_variable(path, "x")
    assert names[-1] == "x"
    assert ours is not None
    assert same(ours, loadmat(path)["x"])
    assert read_variable(path, "z") == (None, ["before", "x", "after"])


def test_the_other_byte_order_is_read(tmp_path: Path) -> None:
    def element(kind: int, data: bytes) -> bytes:
        return kind.to_bytes(4, "big") + len(data).to_bytes(4, "big") + data + bytes(-len(data) % 8)

    numbers = [number.to_bytes(2, "big") for number in (1, 2, 515)]
    head = element(6, bytes([0, 0, 0, 11]) + bytes(4)) + element(5, bytes([0, 0, 0, 1, 0, 0, 0, 3])) + element(1, b"x")
    path = tmp_path / "x.mat"
    path.write_bytes(b"MATLAB".ljust(124) + b"\x01\x00MI" + element(14, head + element(4, b"".join(numbers))))
    ours, _ = read_variable(path, "x")
    assert ours is not None
    assert ours.tolist() == loadmat(path)["x"].tolist() == [[1, 2, 515]]


@pytest.mark.parametrize("value", [{"a": 1}, np.array([1 + 2j])], ids=["a structure", "complex numbers"])
def test_what_is_no_list_is_refused_or_read_without_harm(tmp_path: Path, value: Any) -> None:
    savemat(tmp_path / "x.mat", {"x": value})
    if isinstance(value, dict):
        with pytest.raises(ValueError, match="an array of class 2, and only numbers, text and cell arrays are read"):
            read_variable(tmp_path / "x.mat", "x")
    else:
        ours, _ = read_variable(tmp_path / "x.mat", "x")
        assert ours is not None
        assert ours.tolist() == [[1.0]]


@pytest.mark.parametrize("compressed", [False, True])
def test_every_damaged_byte_and_every_cut_is_a_value_error_or_does_no_harm(tmp_path: Path, compressed: bool) -> None:
    path, random = tmp_path / "x.mat", np.random.default_rng(5)
    savemat(path, {"x": cells("A_1.jpg", np.eye(2), "É")}, do_compression=compressed)
    whole = path.read_bytes()
    refused = 0
    for at in range(120, len(whole)):
        for spoilt in (
            whole[:at],
            whole[:at] + bytes([whole[at] ^ int(random.integers(1, 256))]) + whole[at + 1 :],
            whole[:at] + random.bytes(4) + whole[at + 4 :],
        ):
            path.write_bytes(spoilt)
            try:
                read_variable(path, "x")
            except (ValueError, NotImplementedError):
                refused += 1
    assert refused > len(whole)


def test_a_small_file_that_unpacks_to_much_is_refused_before_it_does(tmp_path: Path) -> None:
    bomb = zlib.compress(bytes(300_000_000))
    path = tmp_path / "x.mat"
    tag = (15).to_bytes(4, "little") + len(bomb).to_bytes(4, "little")
    path.write_bytes(b"MATLAB".ljust(124) + b"\x00\x01IM" + tag + bomb)
    tracemalloc.start()
    with pytest.raises(ValueError, match="a variable unpacks to more than 134,217,728 bytes"):
        read_variable(path, "x")
    assert tracemalloc.get_traced_memory()[1] < 280_000_000
    tracemalloc.stop()
