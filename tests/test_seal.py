"""The seal of an index folder: what it notices, what it leaves alone, and what it says."""

import json

import pytest

from simsearch.errors import IndexFileError
from simsearch.index.seal import END_BYTES, check_seal, seal

SMALL, LARGE = bytes(range(256)) * 3, bytes(i * i % 251 for i in range(5 * END_BYTES // 2))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "ids.npy").write_bytes(SMALL)
    (tmp_path / "vectors.npy").write_bytes(LARGE)
    (tmp_path / "empty").touch()
    return tmp_path


def flip(path, place):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def test_every_file_is_sealed_with_its_size_in_the_order_of_names(folder):
    (folder / "below").mkdir()
    found = seal(folder)
    assert list(found) == ["empty", "ids.npy", "vectors.npy"]
    assert [size for size, _ in found.values()] == [0, len(SMALL), len(LARGE)]


def test_what_was_sealed_passes_and_still_does_after_json(folder):
    found = seal(folder)
    check_seal(folder, found)
    check_seal(folder, json.loads(json.dumps(found)))


def test_a_seal_of_the_same_bytes_is_the_same(folder, tmp_path_factory):
    copy = tmp_path_factory.mktemp("copy")
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    assert seal(copy) == seal(folder)


@pytest.mark.parametrize("name", ["ids.npy", "vectors.npy", "empty"])
def test_a_missing_file_is_named(folder, name):
    found = seal(folder)
    (folder / name).unlink()
    with pytest.raises(IndexFileError) as caught:
        check_seal(folder, found)
    assert str(caught.value) == f"{folder / name} cannot be read: No such file or directory"


@pytest.mark.parametrize("size", [0, 1, END_BYTES, len(LARGE) // 2, len(LARGE) - 1])
def test_a_truncated_file_is_named_with_the_size_that_is_left(folder, size):
    found = seal(folder)
    (folder / "vectors.npy").write_bytes(LARGE[:size])
    with pytest.raises(IndexFileError) as caught:
        check_seal(folder, found)
    wanted = f"{folder / 'vectors.npy'} is damaged: it is not the file that was written ({size} bytes)"
    assert str(caught.value) == wanted


@pytest.mark.parametrize("place", [0, 1, END_BYTES - 1, len(LARGE) - END_BYTES, len(LARGE) - 1])
def test_one_flipped_bit_at_either_end_of_a_large_file_is_noticed(folder, place):
    found = seal(folder)
    flip(folder / "vectors.npy", place)
    with pytest.raises(IndexFileError, match=r"vectors\.npy is damaged"):
        check_seal(folder, found)


@pytest.mark.parametrize("place", range(0, len(SMALL), 97))
def test_one_flipped_bit_anywhere_in_a_small_file_is_noticed(folder, place):
    found = seal(folder)
    flip(folder / "ids.npy", place)
    with pytest.raises(IndexFileError, match=r"ids\.npy is damaged"):
        check_seal(folder, found)


@pytest.mark.parametrize("place", [END_BYTES, len(LARGE) // 2, len(LARGE) - END_BYTES - 1])
def test_the_middle_of_a_large_file_is_not_read(folder, place):
    found = seal(folder)
    flip(folder / "vectors.npy", place)
    check_seal(folder, found)
    assert seal(folder) == found


def test_a_file_that_grew_is_noticed(folder):
    found = seal(folder)
    (folder / "empty").write_bytes(b"x")
    with pytest.raises(IndexFileError, match=r"empty is damaged: .* \(1 bytes\)"):
        check_seal(folder, found)


def test_files_that_came_later_do_not_matter(folder):
    found = seal(folder)
    (folder / "later").write_bytes(b"x")
    check_seal(folder, found)


def test_an_index_from_before_seals_is_taken_as_it_is(folder):
    check_seal(folder, {})
