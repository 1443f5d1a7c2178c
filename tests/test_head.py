"""Heads on disk: what was saved comes back by value, and what cannot be used is refused with the way out."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
from labelled_works import clusters, embed, fill
from safetensors.numpy import load as from_bytes
from safetensors.numpy import save as to_bytes

from simsearch.classifier import head as module
from simsearch.classifier.head import Head, folder_of, head_of, heads_of, load, names_of, save
from simsearch.errors import CollectionWriteError, EncoderMismatchError, HeadError
from simsearch.records import EncoderInfo, Preprocessing

ENCODER = EncoderInfo("dino/v2 small", "3", "ab" * 32, 6, Preprocessing(224, "crop", "bicubic", (0.1, 0.2, 0.3)))
CARD = {"works": {"trained_on": 3}, "choices": {"merge": {"Élan": "Zest"}}, "split": {"official": True}}


def head(name="style", seed=0, **changes) -> Head:
    rng = np.random.default_rng(seed)
    made = Head(
        name, "style", ENCODER, ("Ancien Régime", "b", "c"),
        weights=rng.normal(size=(3, 6)).astype(np.float32), bias=rng.normal(size=3).astype(np.float32),
        temperature=1.23456789, threshold=0.5,
        trained_on=np.array([1, 2**64 - 1, 7], np.uint64), held_out=np.array([5], np.uint64), card=CARD,
    )  # fmt: skip
    return replace(made, **changes)


def same(first: Head, second: Head) -> bool:
    numbers = ("weights", "bias", "trained_on", "held_out")
    rest = ("name", "kind", "encoder", "classes", "temperature", "threshold")
    return all(np.array_equal(getattr(first, n), getattr(second, n)) for n in numbers) and all(
        getattr(first, n) == getattr(second, n) for n in rest
    )


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def rewrite(folder, **changes):
    """Changes the card of `style` as a text editor would."""
    card = folder / "style.json"
    said = json.loads(card.read_text(encoding="utf-8"))
    card.write_text(json.dumps({**said, **changes}), encoding="utf-8")


def swap(folder, data: bytes):
    """Gives the head other numbers, and its card their digest."""
    (folder / "other.safetensors").write_bytes(data)
    rewrite(folder, weights={"file": "other.safetensors", "sha256": hashlib.sha256(data).hexdigest()})


# -- there and back ----------------------------------------------------------------------------------------------------


def test_a_head_comes_back_as_it_was(tmp_path):
    path = save(tmp_path / "heads" / "deep", head())
    assert path == tmp_path / "heads" / "deep" / "style.json"
    found = load(path.parent, "style")
    assert same(found, head())
    assert found.weights.dtype == found.bias.dtype == np.float32
    assert found.trained_on.dtype == found.held_out.dtype == np.uint64
    assert {key: found.card[key] for key in CARD} == CARD
    rows = clusters(["x"] * 20, dim=6)
    assert np.array_equal(found.probabilities(rows), head().probabilities(rows))


def test_a_card_says_what_a_reader_needs(tmp_path):
    text = save(tmp_path, head()).read_text(encoding="utf-8")
    said = json.loads(text)
    assert said["format"] == 1
    assert (said["name"], said["kind"], said["classes"]) == ("style", "style", ["Ancien Régime", "b", "c"])
    assert said["encoder"]["name"] == "dino/v2 small"
    assert said["encoder"]["digest"] == "ab" * 32
    assert said["encoder"]["preprocessing"]["resize"] == "crop"
    assert (said["temperature"], said["threshold"]) == (1.23456789, 0.5)
    assert said["works"] == {"trained_on": 3}
    numbers = tmp_path / said["weights"]["file"]
    assert hashlib.sha256(numbers.read_bytes()).hexdigest() == said["weights"]["sha256"]
    assert "Régime" in text, "legible in an editor"


def test_logits_and_probabilities_are_in_the_order_of_the_classes():
    made = head()
    rows = clusters(["x"] * 5, dim=6)
    wanted = rows.astype(np.float64) @ made.weights.T.astype(np.float64) + made.bias
    assert made.logits(rows) == pytest.approx(wanted, abs=1e-5)
    powers = np.exp(wanted / made.temperature)
    assert made.probabilities(rows) == pytest.approx(powers / powers.sum(axis=1, keepdims=True), abs=1e-6)


def test_a_head_takes_the_place_of_the_one_before_and_of_no_other(tmp_path):
    for name in ("style", "style-2", "style-0123456789ab"):
        save(tmp_path, head(name))
    before = files(tmp_path)
    save(tmp_path, head("style", seed=1))
    assert same(load(tmp_path, "style"), head("style", seed=1))
    assert same(load(tmp_path, "style-2"), head("style-2"))
    assert same(load(tmp_path, "style-0123456789ab"), head("style-0123456789ab"))
    assert len(files(tmp_path)) == len(before), "the old numbers are gone"


def test_saving_the_same_head_again_changes_nothing(tmp_path):
    save(tmp_path, head())
    before = files(tmp_path)
    save(tmp_path, head())
    assert files(tmp_path) == before
    assert same(load(tmp_path, "style"), head())


# -- in a collection ---------------------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path):
    """(a collection with two encoders, its first, its second)."""
    collection, first = fill(tmp_path, clusters(["x", "y"], dim=6), {})
    with collection:
        yield collection, first, embed(collection, clusters(["x", "y"], dim=6, seed=1), "dino/v2 small")


def put(collection, entry, name, kind="style"):
    save(folder_of(collection, entry.info), head(name, kind=kind, encoder=entry.info))


def test_each_encoder_has_heads_of_its_own(place):
    collection, first, second = place
    put(collection, first, "style")
    put(collection, second, "genre", "genre")
    assert names_of(collection, first) == ["style"]
    assert names_of(collection, second) == ["genre"]
    assert folder_of(collection, second.info).name == "dino_v2_small"
    assert head_of(collection, first, "style").kind == "style"
    assert heads_of(collection, second)[0].encoder == second.info


def test_the_head_named_like_its_kind_comes_first(place):
    collection, first, _ = place
    for name in ("b", "a", "style", "z"):
        put(collection, first, name)
    assert [found.name for found in heads_of(collection, first)] == ["style", "a", "b", "z"]


def test_a_head_that_is_not_there_is_refused_with_the_names_there_are(place):
    collection, first, second = place
    with pytest.raises(HeadError, match=r"no head 'style' for the encoder synthetic; there is none yet; `simsearch tr"):
        head_of(collection, first, "style")
    for name in ("style", "school"):
        put(collection, first, name)
    with pytest.raises(HeadError, match=r"no head 'stile' .*; did you mean 'style'\?; `simsearch train --label KIND`"):
        head_of(collection, first, "stile")
    with pytest.raises(HeadError, match=r"no head 'genre' .*; there are school, style; "):
        head_of(collection, first, "genre")
    with pytest.raises(HeadError, match="no head 'style' for the encoder dino/v2 small; there is none yet"):
        head_of(collection, second, "style")


def test_a_head_of_another_encoder_is_refused_with_the_way_out(place):
    collection, first, _ = place
    put(collection, first, "style")
    newer = replace(first, info=replace(first.info, revision="2"))  # the same folder, other embeddings
    for ask in (lambda: head_of(collection, newer, "style"), lambda: heads_of(collection, newer)):
        with pytest.raises(EncoderMismatchError, match="`simsearch train --label style` again") as error:
            ask()
        assert "synthetic@1" in str(error.value)
        assert "synthetic@2" in str(error.value)
    with pytest.raises(EncoderMismatchError):
        head(encoder=replace(ENCODER, preprocessing=Preprocessing(96))).check(ENCODER)
    head().check(ENCODER)


# -- damage ------------------------------------------------------------------------------------------------------------


def lose(folder):
    next(folder.glob("*.safetensors")).unlink()


def change_a_byte(folder):
    path = next(folder.glob("*.safetensors"))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


def cut(folder):
    path = next(folder.glob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:100])


def numbers(**changes):
    made = head()
    tensors = {name: getattr(made, name) for name in module.TENSORS} | changes
    return to_bytes({name: np.ascontiguousarray(v) for name, v in tensors.items() if v is not None})


DAMAGES = {
    "lost numbers": (lose, "has lost its weights: there is no style-"),
    "a changed byte": (change_a_byte, "is not the file that its card names"),
    "cut short": (cut, "is not the file that its card names"),
    "no card": (lambda f: (f / "style.json").unlink(), "style.json cannot be read: No such file"),
    "broken JSON": (lambda f: (f / "style.json").write_text('{"format": 1, '), "is not the card of a head"),
    "no UTF-8": (lambda f: (f / "style.json").write_bytes(b'{"format": "\xff"}'), "is not the card of a head"),
    "a list": (lambda f: (f / "style.json").write_text("[1]"), "is not the card of a head"),
    "nothing in it": (lambda f: (f / "style.json").write_text("{}"), "is not the card of a head"),
    "a format in words": (lambda f: rewrite(f, format="one"), "is not the card of a head"),
    "no encoder": (lambda f: rewrite(f, encoder=None), "is not the card of a head"),
    "a stranger's encoder": (lambda f: rewrite(f, encoder={"name": "x"}), "is not the card of a head"),
    "weights by no name": (lambda f: rewrite(f, weights="style.safetensors"), "is not the card of a head"),
    "numbers that are none": (lambda f: swap(f, b"not numbers at all"), "is not the card of a head"),
    "no bias": (lambda f: swap(f, numbers(bias=None)), "is not the card of a head"),
    "a class more": (lambda f: rewrite(f, classes=list("abcd")), "says 4 classes of 6 numbers"),
    "wider rows": (lambda f: swap(f, numbers(weights=np.zeros((3, 7), np.float32))), "says 3 classes of 6 numbers"),
    "a shorter bias": (lambda f: swap(f, numbers(bias=np.zeros(2, np.float32))), "says 3 classes of 6 numbers"),
    "NaN": (lambda f: swap(f, numbers(weights=np.full((3, 6), np.nan, np.float32))), "its weights say otherwise"),
    "NaN in the bias": (lambda f: swap(f, numbers(bias=np.full(3, np.nan, np.float32))), "its weights say otherwise"),
    "no temperature": (lambda f: rewrite(f, temperature=0.0), "its weights say otherwise"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_head_is_refused_with_the_way_out(tmp_path, damage):
    save(tmp_path, head())
    hurt, said = DAMAGES[damage]
    hurt(tmp_path)
    with pytest.raises(HeadError) as error:
        load(tmp_path, "style")
    message = str(error.value)
    assert said in message
    assert "train again with `simsearch train --label KIND --name style`" in message
    assert str(tmp_path) in message


def test_a_head_of_a_newer_simsearch_is_refused(tmp_path):
    save(tmp_path, head())
    rewrite(tmp_path, format=2)
    with pytest.raises(HeadError, match=r"style\.json was written by a newer simsearch; update this one"):
        load(tmp_path, "style")


def test_training_again_mends_a_damaged_head(tmp_path):
    save(tmp_path, head())
    lose(tmp_path)
    save(tmp_path, head())
    assert same(load(tmp_path, "style"), head())


# -- names and places --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["style", "étude", "style-2", "v1.0", "_x", "様式", "a" * 100])
def test_names_that_a_file_can_have(tmp_path, name):
    save(tmp_path, head(name))
    assert load(tmp_path, name).name == name


@pytest.mark.parametrize(
    "name", ["", "../style", "a/b", "a b", ".style", "-x", "a\n", "a\x00", "a*", "a" * 101, "様" * 34]
)
def test_names_that_no_file_can_have_are_refused(tmp_path, name):
    with pytest.raises(HeadError, match=r"a head cannot be called .*; give it a --name of letters"):
        save(tmp_path / "heads", head(name))
    assert not (tmp_path / "heads").exists()


def test_a_folder_that_cannot_be_written_is_refused(tmp_path, unprivileged):
    folder = tmp_path / "heads"
    save(folder, head())
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    code = (
        "import sys; sys.path[:0] = ['tests']\nfrom pathlib import Path\nfrom test_head import head, save\n"
        "from simsearch.errors import CollectionWriteError\n"
        "try: save(Path(sys.argv[1]), head(seed=1))\n"
        "except CollectionWriteError as error: print(error)"
    )
    folder.chmod(0o555)
    (folder / ".lock").chmod(0o444)
    try:
        found = subprocess.run([*unprivileged, "-c", code, folder], capture_output=True, text=True, check=False)
    finally:
        folder.chmod(0o755)
    assert "cannot be written: Permission denied" in found.stdout, found.stderr
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_place_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "heads").write_text("mine")
    with pytest.raises(CollectionWriteError, match="heads cannot be written"):
        save(tmp_path / "heads", head())
    assert (tmp_path / "heads").read_text() == "mine"


def test_a_write_that_fails_half_way_leaves_the_old_head(tmp_path, monkeypatch):
    save(tmp_path, head())
    before = files(tmp_path)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CollectionWriteError, match="No space left on device"):
        save(tmp_path, head(seed=1))
    monkeypatch.undo()
    assert files(tmp_path) == before
    assert same(load(tmp_path, "style"), head())


# -- at the same time --------------------------------------------------------------------------------------------------


WRITE = """
import sys
sys.path[:0] = ['tests']
from pathlib import Path
from test_head import head, save
for i in range(int(sys.argv[2]), int(sys.argv[3])):
    save(Path(sys.argv[1]), head(seed=i))
"""


def test_two_readers_see_the_old_head_or_the_new_one_while_two_write(tmp_path):
    save(tmp_path, head())
    known = {head(seed=i).weights.tobytes() for i in range(120)}
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITE, tmp_path, str(start), str(start + 60)]) for start in (0, 60)
    ]
    seen, failed = set(), []

    def read():
        while any(writer.poll() is None for writer in writers):
            try:
                seen.add(load(tmp_path, "style").weights.tobytes())
            except HeadError as error:
                failed.append(str(error))

    readers = [threading.Thread(target=read) for _ in range(2)]
    for thread in readers:
        thread.start()
    for thread in readers:
        thread.join(60)
    assert [writer.wait(60) for writer in writers] == [0, 0]
    assert failed == []
    assert seen <= known
    assert len(seen) > 2
    last = load(tmp_path, "style")
    assert last.weights.tobytes() in {head(seed=i).weights.tobytes() for i in (59, 119)}
    assert len(list(tmp_path.glob("*.safetensors"))) == 1
    assert set(from_bytes(next(tmp_path.glob("*.safetensors")).read_bytes())) == set(module.TENSORS)
