"""The works that a network is fine-tuned on, and what teachers gave them."""

import shutil

import numpy as np
import pytest
from labelled_works import clusters, embed, fill, indexed, painted
from PIL import Image

from simsearch import open_collection
from simsearch.catalog.labelled import image_keys
from simsearch.classifier.finetune.recipe import Contrast, Distill, Recipe, Task
from simsearch.classifier.finetune.works import (
    UNREADABLE,
    kinds_of,
    learns_without_labels,
    load_works,
    teacher,
)
from simsearch.classifier.prepare import WITH_NEAR_DUPLICATE
from simsearch.errors import LabelError, TrainingError, WhereError


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A folder with a collection of 40 painted works and their rows."""
    folder = tmp_path_factory.mktemp("painted")
    rows = painted(folder, works=40)
    return indexed(folder), rows


@pytest.fixture
def gallery(original):
    """The collection, to be read only."""
    with open_collection(original[0]) as collection:
        yield collection


def paint(folder, values, extra=None, images=None, **labels):
    """A made-up collection whose works have image files: work i is ``0000.png`` and so on in ``art``."""
    collection, _ = fill(folder, clusters(values, noise=1.0), {"style": values, **labels}, extra=extra, images=images)
    (folder / "art").mkdir()
    for i in range(len(values)):
        Image.new("RGB", (8, 8), (i, 0, 0)).save(folder / "art" / f"{i:04}.png")
    return collection


# -- works -------------------------------------------------------------------------------------------------------------


def test_columns_are_those_of_the_table(original, gallery):
    _, rows = original
    works = load_works(gallery, ["style", "genre"], split="split")
    by_path = {row["path"]: row for row in rows}
    own = [by_path[path.name] for path in works.paths]
    assert len(works) == len(own) == 40 - sum(works.left_out.values())
    assert works.labels["style"].tolist() == [row["style"] for row in own]
    assert works.labels["genre"].tolist() == [row["genre"] for row in own]
    assert works.artists.tolist() == [row["artist"] for row in own]
    assert works.parts.tolist() == [row["split"] for row in own]
    assert all(path.is_file() for path in works.paths)


def test_rows_go_by_id_and_carry_the_keys_of_their_images(gallery):
    works = load_works(gallery, ["style"], split="none")
    by_path = {work.path: work.id for work in gallery.catalog.all_artworks()}
    ids = np.array([by_path[str(path)] for path in works.paths])
    assert (np.diff(ids) > 0).all()
    assert (works.keys == image_keys(gallery.catalog, ids)).all()
    assert works.keys.dtype == np.uint64


def test_a_work_without_a_label_stays_where_another_kind_has_one_or_all_are_asked_for(tmp_path):
    values = ["A", "B"] * 4 + ["", ""]
    with paint(tmp_path, values, genre=[""] * 8 + ["g", ""]) as collection:
        assert len(load_works(collection, ["style"])) == 8
        both = load_works(collection, ["style", "genre"])
        assert both.labels["style"].tolist() == [*values[:8], ""]
        assert both.labels["genre"].tolist() == [""] * 8 + ["g"]
        assert len(load_works(collection, ["style"], unlabelled=True)) == 10
        assert load_works(collection, [], unlabelled=True).labels == {}


def test_a_filter_reads_a_column_that_is_mostly_empty_in_two_ways(tmp_path):
    new = ["yes", "", "", "yes", "", ""]
    with paint(tmp_path, ["A", "B"] * 3, {"new_artist": new}) as collection:
        for where in ("new_artist != 'yes'", "new_artist is null", "not new_artist = 'yes'"):
            assert [path.name for path in load_works(collection, ["style"], where=where).paths] == [
                "0001.png", "0002.png", "0004.png", "0005.png",
            ]  # fmt: skip
        with pytest.raises(LabelError, match="no work with a label 'style' fits --where \"new_artist = 'no'\"; leave"):
            load_works(collection, ["style"], where="new_artist = 'no'")
        with pytest.raises(WhereError, match="newartist"):
            load_works(collection, ["style"], where="newartist = 'yes'")


def test_what_any_published_split_holds_out_is_held_out(tmp_path):
    extra = {"style_split": ["train", "train", "test", "", "train"], "genre_split": ["train", "val", "train", "", ""]}
    with paint(tmp_path, ["A", "B", "A", "B", "A"], extra, genre=["g"] * 5) as collection:
        both = load_works(collection, ["style", "genre"])
        assert [path.name for path in both.paths] == ["0000.png", "0001.png", "0002.png", "0004.png"]
        assert both.parts.tolist() == ["train", "val", "val", "train"]
        assert both.left_out == {"in no part of the published split": 1}
        assert load_works(collection, ["style"]).parts.tolist() == ["train", "train", "val", "train"]
        assert load_works(collection, ["style"], split="genre_split").parts.tolist() == ["train", "val", "train"]
        assert set(load_works(collection, ["style"], split="none").parts.tolist()) == {""}


def test_a_kind_without_a_split_of_its_own_goes_by_the_common_one(tmp_path):
    extra = {"style_split": ["train", "val", "train", "train"], "split": ["train", "train", "val", "train"]}
    with paint(tmp_path, ["A", "B"] * 2, extra, genre=["g"] * 4) as collection:
        assert load_works(collection, ["style", "genre"]).parts.tolist() == ["train", "val", "val", "train"]


def test_without_a_part_to_hold_out_there_is_no_split(tmp_path):
    with paint(tmp_path / "a", ["A", "B"] * 2, {"split": ["train", "", "train", "x"]}) as collection:
        works = load_works(collection, ["style"])
        assert works.parts.tolist() == [""] * 4
        assert works.left_out == {}
        with pytest.raises(LabelError, match=r"the attribute 'split' holds train, x; a split says train and val"):
            load_works(collection, ["style"], split="split")
    with paint(tmp_path / "b", ["A", "B"] * 2, {"split": ["val", "", "", ""]}) as collection:
        assert load_works(collection, ["style"]).parts.tolist() == ["val", "train", "train", "train"]
    with (
        paint(tmp_path / "c", ["A", "B"], {"split": ["val", "test"]}) as collection,
        pytest.raises(LabelError, match="all 2 works belong to the part that is held out"),
    ):
        load_works(collection, ["style"])


def test_unlabelled_works_outside_of_a_split_may_be_learned_from(tmp_path):
    with paint(tmp_path, ["A", "B", ""], {"split": ["train", "val", ""]}) as collection:
        assert load_works(collection, ["style"], unlabelled=True).parts.tolist() == ["train", "val", "train"]


def test_near_duplicates_of_what_is_held_out_are_left_out(tmp_path):
    extra = {"split": ["train", "val", "train", "train", "train"]}
    with paint(tmp_path, ["A", "B"] * 2 + ["A"], extra, images=[0, 1, 1, 2, 2]) as collection:
        works = load_works(collection, ["style"])
        assert [path.name for path in works.paths] == ["0000.png", "0001.png", "0003.png", "0004.png"]
        assert works.left_out == {WITH_NEAR_DUPLICATE: 1}
        assert works.groups.tolist() == [1, 2, 4, 4]


def test_works_that_any_encoder_takes_for_one_picture_are_one_group(tmp_path):
    with paint(tmp_path, ["A", "B"] * 4) as collection:
        assert len(set(load_works(collection, ["style"]).groups.tolist())) == 8
        rows = clusters([str(i) for i in range(8)], noise=0.0)
        rows[5] = rows[2]
        embed(collection, rows, "second")
        groups = load_works(collection, ["style"]).groups
        assert groups[2] == groups[5] == 3


def test_works_whose_image_is_gone_are_counted_and_left_out(original, tmp_path):
    folder = shutil.copytree(original[0], tmp_path / "copy")
    pictures = sorted((folder / "art").glob("*.png"))
    for path in pictures[:3]:
        path.unlink()
    with open_collection(folder) as collection:
        works = load_works(collection, ["style"], split="none")
        assert len(works) == 37
        assert works.left_out == {UNREADABLE: 3}
        for path in pictures[3:]:
            path.unlink()
        with pytest.raises(LabelError, match="none of 40 works has an image that can be read; put the files back"):
            load_works(collection, ["style"])


def test_a_kind_that_no_work_has_is_refused_with_the_nearest(gallery):
    with pytest.raises(LabelError, match="no work of this collection has a label 'stile'; did you mean 'style'"):
        load_works(gallery, ["genre", "stile"])


def test_an_attribute_that_is_no_split_is_refused(gallery):
    with pytest.raises(LabelError, match="no work has an attribute 'genre' that could be a split; leave --split-by"):
        load_works(gallery, ["style"], split="genre")


def test_taken_works_are_the_same_works(gallery):
    works = load_works(gallery, ["style", "genre"])
    which = np.arange(len(works)) % 3 == 0
    some = works.take(which)
    assert some.paths == [path for path, kept in zip(works.paths, which, strict=True) if kept]
    assert (some.labels["genre"] == works.labels["genre"][which]).all()
    assert (some.keys == works.keys[which]).all()


def test_the_digest_knows_works_labels_and_groups_again_wherever_they_lie(original, gallery, tmp_path):
    works = load_works(gallery, ["style"])
    with open_collection(shutil.copytree(original[0], tmp_path / "copy")) as copied:
        assert load_works(copied, ["style"]).digest == works.digest
        assert load_works(copied, ["style"], split="none").digest != works.digest
        assert load_works(copied, ["style", "genre"]).digest != works.digest
        assert load_works(copied, ["genre"]).digest != works.digest
    assert works.take(np.arange(len(works)) > 0).digest != works.digest


def test_what_recipes_learn_from():
    plain = Recipe("a", "cnn:3", tasks={"style": Task()})
    terms = Recipe("b", "cnn:3", tasks={"genre": Task()}, contrast=(Contrast(label="artist"), Contrast(label="style")))
    assert kinds_of([plain, terms]) == ["style", "genre", "artist"]
    assert not learns_without_labels(plain)
    assert not learns_without_labels(terms)
    assert learns_without_labels(Recipe("c", "cnn:3", contrast=(Contrast(),), views=2))
    assert learns_without_labels(Recipe("d", "cnn:3", distill=(Distill(teacher="color"),)))


# -- teachers ----------------------------------------------------------------------------------------------------------


def test_a_teacher_of_the_collection_gives_each_work_its_embedding(gallery):
    works = load_works(gallery, ["style"])
    rows = teacher(gallery, works, Distill(teacher="color"))
    entry = gallery.encoder_entry("color")
    stored, ids = gallery.catalog.embeddings(entry.number, entry.info.dim)
    by_path = {work.path: work.id for work in gallery.catalog.all_artworks()}
    assert rows.dtype == np.float32
    assert (rows == stored[np.searchsorted(ids, [by_path[str(path)] for path in works.paths])]).all()


def test_columns_of_a_teacher_are_a_stretch_of_it(gallery):
    works = load_works(gallery, ["style"])
    whole = teacher(gallery, works, Distill(teacher="color"))
    assert (teacher(gallery, works, Distill(teacher="color", columns=(3, 10))) == whole[:, 3:10]).all()
    for columns in ((3,), (5, 5), (-1, 3), (0, whole.shape[1] + 1), (1, 2, 3)):
        with pytest.raises(TrainingError, match=r"columns of the teacher 'color' are .*; two numbers from 0 to 432"):
            teacher(gallery, works, Distill(teacher="color", columns=columns))


def saved(file, **arrays):
    np.savez(file, **arrays)
    return Distill(teacher=str(file))


@pytest.mark.parametrize("root", ["the collection", "the source"])
def test_a_file_names_works_by_their_paths_in_any_order(gallery, tmp_path, root):
    works = load_works(gallery, ["style"])
    base = gallery.base if root == "the collection" else gallery.base / "art"
    mixed = np.random.default_rng(0).permutation(len(works))
    paths = np.array([works.paths[i].relative_to(base).as_posix() for i in mixed])
    rows = np.random.default_rng(1).normal(size=(len(works), 5)).astype(np.float16)
    distill = saved(tmp_path / "teacher.npz", path=[*paths, "more/other.png"], embedding=[*rows[mixed], rows[0]])
    given = teacher(gallery, works, distill)
    assert given.dtype == np.float32
    assert (given == rows.astype(np.float32)).all()


def test_a_teacher_that_lacks_works_says_how_many(gallery, tmp_path):
    works = load_works(gallery, ["style"])
    few = [path.relative_to(gallery.base).as_posix() for path in works.paths[:-3]]
    distill = saved(tmp_path / "few.npz", path=few, embedding=np.ones((len(few), 4)))
    with pytest.raises(TrainingError, match=rf"has no embedding of 3 of {len(works)} works; make them as well"):
        teacher(gallery, works, distill)


def test_an_encoder_that_lacks_works_says_how_to_embed_them(tmp_path):
    with paint(tmp_path, ["A", "B"] * 3) as collection:
        embed(collection, clusters(["A", "B"]), "second", images=[0, 1])
        works = load_works(collection, ["style"])
        with pytest.raises(
            TrainingError, match=r"'second' has no embedding of 4 of 6 works; run `simsearch index --encoder second`"
        ):
            teacher(collection, works, Distill(teacher="second"))


def test_teachers_that_are_not_there_or_no_teachers_are_refused(gallery, tmp_path):
    works = load_works(gallery, ["style"])
    text = tmp_path / "text.npz"
    text.write_text("no archive")
    objects = np.empty(2, object)
    whole = tmp_path / "whole.npz"
    np.savez(whole, path=["x"], embedding=[[1.0]])
    (tmp_path / "cut.npz").write_bytes(whole.read_bytes()[:200])
    with (tmp_path / "array.npz").open("wb") as file:
        np.save(file, np.ones(3))
    for distill, said in (
        (Distill(teacher="colr"), r"the teacher 'colr' is no \.npz file, and this collection has no embeddings by"),
        (Distill(teacher=str(tmp_path / "none.npz")), r"none\.npz cannot be read: No such file"),
        (Distill(teacher=str(tmp_path / "cut.npz")), r"cut\.npz is no \.npz file of plain arrays"),
        (Distill(teacher=str(tmp_path / "array.npz")), r"array\.npz is no \.npz file of plain arrays"),
        (Distill(teacher=str(text)), r"text\.npz is no \.npz file of plain arrays; write it with numpy\.savez"),
        (saved(tmp_path / "a.npz", path=["x"], rows=[[1.0]]), r"has no 'embedding'; .* this holds path, rows"),
        (
            saved(tmp_path / "b.npz", path=["x", "y"], embedding=[[1.0]]),
            r"holds path \(2,\) as <U1 and embedding \(1, 1\)",
        ),
        (saved(tmp_path / "c.npz", path=[1], embedding=[[1.0]]), r"n texts and \(n, d\) numbers are needed"),
        (saved(tmp_path / "d.npz", path=objects, embedding=np.ones((2, 2))), r"is no \.npz file of plain arrays"),
    ):
        with pytest.raises(TrainingError, match=said):
            teacher(gallery, works, distill)


def test_a_teacher_with_numbers_that_are_not_finite_is_refused(gallery, tmp_path):
    works = load_works(gallery, ["style"])
    rows = np.ones((len(works), 3))
    rows[5, 1] = np.nan
    paths = [path.relative_to(gallery.base).as_posix() for path in works.paths]
    with pytest.raises(TrainingError, match="holds numbers that are not finite; make it again"):
        teacher(gallery, works, saved(tmp_path / "nan.npz", path=paths, embedding=rows))
