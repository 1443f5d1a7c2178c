"""Works with their labels and embeddings, as training and evaluation load them."""

import pytest
from labelled_works import clusters, fill

from simsearch.classifier.labelled import load, unlabelled
from simsearch.errors import EmbeddingError, LabelError, WhereError


def test_works_come_with_all_that_is_known_of_them(tmp_path):
    rows = clusters(["x", "y", "x", "y", "x"], noise=1.0)
    labels = {"style": ["A", "", "B", "A", "B"], "artist": ["Ann", "Bo", "", "Ann", "Cy"]}
    extra = {"split": ["train", "val", "test", "", "Train "], "room": ["1", "2", "1", "2", ""]}
    collection, entry = fill(tmp_path, rows, labels, extra=extra, images=[0, 1, 2, 0, 4])
    with collection:
        rows = collection.catalog.embeddings(entry.number, 16)[0]
        found = load(collection, "style", entry)
        assert found.ids.tolist() == [1, 3, 4, 5]
        assert found.values.tolist() == ["A", "B", "A", "B"]
        assert found.artists.tolist() == ["Ann", "", "Ann", "Cy"]
        assert found.parts.tolist() == ["train", "test", "", "train"]
        assert found.groups.tolist() == [1, 3, 1, 5], "the fourth has the bytes of the first"
        assert len(set(found.images.tolist())) == 3
        assert (found.rows == rows[[0, 2, 3, 4]]).all()
        assert load(collection, "style", entry, split="none").parts.tolist() == [""] * 4
        assert load(collection, "style", entry, split="room").parts.tolist() == ["1", "1", "2", ""]
        assert load(collection, "style", entry, where="room = '1'").ids.tolist() == [1, 3]
        spare = unlabelled(collection, "style", entry)
        assert spare[1].tolist() == [2]
        assert (spare[0] == rows[1]).all()


def test_a_split_of_the_kind_goes_before_a_split_of_all(tmp_path):
    labels = {"style": ["A", "B"], "genre": ["x", "y"]}
    extra = {"split": ["train", "val"], "style_split": ["val", "train"]}
    collection, entry = fill(tmp_path, clusters(["", ""]), labels, extra=extra)
    with collection:
        assert load(collection, "style", entry).parts.tolist() == ["val", "train"]
        assert load(collection, "genre", entry).parts.tolist() == ["train", "val"]


def test_a_persons_label_is_learned_and_a_prediction_is_not(tmp_path):
    collection, entry = fill(tmp_path, clusters(["", "", ""]), {"style": ["A", "B", ""]})
    with collection:
        with collection.writer() as writer:
            writer.set_human_labels("style", [(1, "C")])
            writer.store_predictions("style", [(1, "D", 1.0), (2, "D", 1.0), (3, "D", 1.0)])
        found = load(collection, "style", entry)
        assert dict(zip(found.ids.tolist(), found.values.tolist(), strict=True)) == {1: "C", 2: "B"}
        assert unlabelled(collection, "style", entry)[1].tolist() == [3]


def test_what_cannot_be_loaded_is_said(tmp_path):
    labels = {"style": ["A", "B", ""], "genre": ["x", "", ""]}
    collection, entry = fill(tmp_path, clusters(["", "", ""]), labels, extra={"room": ["1", "2", ""]})
    with collection:
        with collection.writer() as writer:
            writer.store_predictions("period", [(1, "D", 1.0)])
        for kind, hint in (("stile", "did you mean 'style'?"), ("period", "there are style, genre")):
            with pytest.raises(LabelError, match=f"no work of this collection has a label '{kind}'") as error:
                load(collection, kind, entry)
            assert hint in str(error.value)
        with pytest.raises(LabelError, match=r"no work has an attribute 'rom' that could be a split; leave --split-by"):
            load(collection, "style", entry, split="rom")
        with pytest.raises(LabelError, match="no work with a label 'style' fits --where \"room = '9'\""):
            load(collection, "style", entry, where="room = '9'")
        with pytest.raises(WhereError, match="colour"):
            load(collection, "style", entry, where="colour = 1")
        with collection.writer() as writer, writer.store.transaction() as db:
            db.exec_driver_sql("DELETE FROM embedding")
        with pytest.raises(LabelError, match="no work with a label 'style' has an embedding by synthetic; run `sims"):
            load(collection, "style", entry)


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (b"\x00\x7e" + b"\x00\x3c" * 15, "it holds a number that is not finite"),
        (b"\x00\x3c" * 15, "it does not have 16 numbers"),
        (b"\x00\x00" * 16, "it is all zeros"),
    ],
    ids=["not a number", "too short", "zero"],
)
def test_a_damaged_embedding_is_named_by_its_artwork(tmp_path, damage, why):
    collection, entry = fill(tmp_path, clusters(["A"] * 30), {"style": ["A", "B"] * 15})
    with collection:
        with collection.writer() as writer, writer.store.transaction() as db:
            digest = collection.catalog.digest(17)
            db.exec_driver_sql("UPDATE embedding SET vector = ? WHERE digest = ?", (damage, digest))
        with pytest.raises(
            EmbeddingError, match=f"the stored embedding of artwork 17 is damaged: {why}; `simsearch in"
        ):
            load(collection, "style", entry)


def test_a_collection_without_labels_says_how_they_come_in(tmp_path):
    collection, entry = fill(tmp_path, clusters(["", ""]), {})
    with collection, pytest.raises(LabelError, match=r"no work .* has a label to learn from; put an artworks\.csv"):
        load(collection, "style", entry)
