"""What an evaluation is taken on: works that no head has seen in any form, its own classes, and the parts there are."""

import numpy as np
import pytest
from labelled_works import clusters, damage, fill
from styled_works import RESAMPLES, STYLES, WORKS, figure, make, parts

from simsearch import open_collection
from simsearch.classifier.evaluate import evaluate
from simsearch.classifier.measured import head_for, measured
from simsearch.classifier.prepare import ClassChoices, SplitChoices
from simsearch.classifier.train import Choices, train
from simsearch.errors import EmbeddingError, HeadError, LabelError, QueryError


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a collection of 700 works and its head `style`, to be read only."""
    folder = tmp_path_factory.mktemp("evaluate")
    collection, _ = make(folder, artists=[f"Artist {i % 23}" for i in range(WORKS)])
    with collection:
        train(collection, "style")
    return folder


@pytest.fixture
def opened(trained):
    with open_collection(trained) as collection:
        yield collection


# -- what would flatter ------------------------------------------------------------------------------------------------


def test_no_near_duplicate_stands_on_both_sides(tmp_path):
    values = [STYLES[i // 4 % 4] for i in range(400)]
    rows = clusters(values, noise=3.0, seed=3)
    images = list(range(400))
    # works 4, 9, 14 ... are held out: half of them are retouched copies of the train work before, or its very file
    retouched, copies = range(4, 400, 20), range(9, 400, 20)
    for i in retouched:
        rows[i] = rows[i - 1] + 0.02 * rows[(i + 50) % 400]
    for i in copies:
        rows[i], images[i] = rows[i - 1], images[i - 1]
    collection, entry = make(tmp_path, values, rows=rows, images=images)
    with collection:
        train(collection, "style")
        head = head_for(collection, entry, "style")
        for on in (measured(collection, "style", entry, head), measured(collection, "style", entry, None)):
            assert len(on.works) == 80
            gone = {*retouched, *copies}  # ids start at 1, so these are the train works before
            assert not set(on.gallery.ids.tolist()) & gone
            assert len(on.gallery) == 320 - len(gone)
            assert not set(on.gallery.groups.tolist()) & set(on.works.groups.tolist())
            assert not set(on.gallery.images.tolist()) & set(on.works.images.tolist())


def test_a_work_that_the_head_has_seen_is_not_measured_on(tmp_path):
    """Where the published split changed after the training, say."""
    collection, entry = make(tmp_path, [STYLES[i % 4] for i in range(200)])
    with collection:
        head = train(collection, "style")
        with collection.writer() as writer:
            works = [
                (
                    w.id,
                    type(w)(w.source, w.source_id, labels=w.labels, extra={"split": "val" if w.id < 100 else "train"}),
                )
                for w in collection.catalog.all_artworks()
            ]
            writer.describe(works, 1, "")
        on = measured(collection, "style", entry, head)
    assert not np.isin(on.works.images, head.trained_on).any()
    assert on.left_out == {"that the head has seen, or near-duplicates of those": 80}
    assert len(on.works) == 19


BY_HAND = (
    # style, artist, part, embedding
    ("A", "Xi", "val", {0: 1}),
    ("A", "Xi", "train", {0: 0.8, 1: 0.6}),
    ("B", "Yo", "train", {0: 0.7, 2: 0.714}),
    ("A", "Zu", "train", {0: 0.6, 3: 0.8}),
    ("B", "Wo", "val", {4: 1}),
    ("B", "Yo", "train", {4: 0.8, 5: 0.6}),
    ("A", "Xi", "train", {4: 0.5, 6: 0.866}),
    ("A", "Zu", "val", {7: 1}),
    ("A", "Zu", "train", {7: 0.9, 8: 0.436}),
    ("B", "Zu", "train", {7: 0.5, 9: 0.866}),
    ("B", "Yo", "train", {7: 0.3, 10: 0.954}),
)


def test_works_by_the_same_artist_flatter_retrieval_as_worked_out_by_hand(tmp_path):
    rows = np.zeros((len(BY_HAND), 12), np.float32)
    for row, (*_, numbers) in zip(rows, BY_HAND, strict=True):
        row[list(numbers)] = list(numbers.values())
    said = [[work[i] for work in BY_HAND] for i in range(3)]
    collection, _ = fill(tmp_path, rows, {"style": said[0], "artist": said[1]}, extra={"split": said[2]})
    said = []
    with collection:
        collection.notice = said.append
        found = evaluate(collection, "style", resamples=RESAMPLES)
    every, others = found.retrieval
    assert (every.same_artist, others.same_artist) == (True, False)
    # with all artists, the first is A of A, B of B, A of A; eight works, four A and four B, so P@10 is .4 throughout
    assert (every.queries, every.p1.value, every.p10.value) == (3, 1.0, pytest.approx(0.4))
    # without the query's own artist: Xi's first is a B, Wo's a B as before, Zu's first is a B by Yo
    assert (others.queries, others.p1.value) == (3, pytest.approx(1 / 3))
    # left to find are Zu's 2 A for Xi, all 4 B for Wo, Xi's 2 A for Zu
    assert others.p10.value == pytest.approx((0.2 + 0.4 + 0.2) / 3)
    assert said[0].startswith("there is no head 'style' for the encoder synthetic, so neighbours alone are measured")
    assert "`simsearch train --label style`" in said[0]
    assert found.head is None
    assert [method.name for method in found.methods] == ["nearest work", "10 nearest works", "majority", "chance"]


def test_artists_as_labels_have_no_figure_without_the_same_artist(opened):
    opened.notice = [].append
    found = evaluate(opened, "artist", resamples=RESAMPLES)
    assert [row.same_artist for row in found.retrieval] == [True]


def test_measuring_on_train_is_allowed_and_said(opened):
    said = []
    opened.notice = said.append
    found = evaluate(opened, "style", split="train", resamples=RESAMPLES)
    assert said == ["the head 'style' was trained on these very works: this says what it remembers"]
    assert (found.split, found.works, found.gallery) == ("train", WORKS * 4 // 5, WORKS * 4 // 5)
    # a work does not answer for itself
    assert figure(found, "nearest work", "top1") < 0.9


def test_whole_artists_are_drawn_where_whole_artists_were_held_out(tmp_path):
    values = [STYLES[i // 30 % 4] for i in range(600)]
    # an artist keeps to a style and a manner of their own, so works of one are right or wrong together
    artists = [f"Artist {i // 15}" for i in range(600)]
    rows = clusters(values, noise=0.5, seed=3) + 1.1 * clusters(artists, noise=0.5, seed=4)
    collection, entry = make(tmp_path, values, rows=rows, artists=artists)
    with collection:
        head = train(collection, "style", choices=Choices(split=SplitChoices(group_by="artist")))
        on = measured(collection, "style", entry, head)
        assert not set(on.works.artists.tolist()) & set(on.gallery.artists.tolist())
        drawn = on.draws(RESAMPLES, 0)["groups"]
    assert len(set(drawn.tolist())) == len(set(on.works.artists.tolist()))
    for artist in set(on.works.artists.tolist()):
        assert len(set(drawn[on.works.artists == artist].tolist())) == 1


# -- which head, which works -------------------------------------------------------------------------------------------


def test_a_head_is_measured_under_its_own_classes_and_its_own_filter(tmp_path):
    values = [STYLES[i % 4] for i in range(400)]
    rooms = ["east" if i % 8 < 6 else "west" for i in range(400)]
    extra = {"split": parts(400), "room": rooms}
    collection, _ = fill(tmp_path, clusters(values, noise=2.0), {"style": values}, extra=extra)
    with collection:
        choices = Choices(where="room = 'east'", classes=ClassChoices(merge={"Dawn": "Warm", "Ember": "Warm"}))
        train(collection, "style", name="style-east", choices=choices)
        found = evaluate(collection, "style", head="style-east", resamples=RESAMPLES)
        assert found.head.classes == ("Flint", "Gale", "Warm")
        assert found.works == 60  # of the 80 that are held out
        everywhere = evaluate(collection, "style", head="style-east", where="room != 'north'", resamples=RESAMPLES)
        assert everywhere.works == 80
        assert (figure(found, "chance", "top1"), found.gallery) == (pytest.approx(1 / 3), everywhere.gallery)
        with pytest.raises(HeadError, match="the head 'style-east' names style, not genre"):
            head_for(collection, collection.encoder_entry(), "genre", "style-east")


def test_labels_that_the_head_has_no_class_for_are_left_out_and_counted(tmp_path):
    values = [STYLES[i % 4] for i in range(200)]
    values[4] = values[9] = "Rare"
    collection, _ = make(tmp_path, values, rows=clusters([STYLES[i % 4] for i in range(200)], noise=1.5))
    with collection:
        train(collection, "style")
        found = evaluate(collection, "style", resamples=RESAMPLES)
        alone = measured(collection, "style", collection.encoder_entry(), None)
    assert (found.works, found.left_out) == (38, {"of classes that the head does not know": 2})
    assert alone.left_out == {"of classes that no work to answer by has": 2}


def test_a_part_that_no_work_has_is_refused_with_those_there_are(opened):
    with pytest.raises(LabelError, match=r"no work belongs to the part 'tset'; there are train, val$"):
        evaluate(opened, "style", split="tset")
    with pytest.raises(LabelError, match=r"no work belongs to the part 'tset'; there are train, val$"):
        evaluate(opened, "artist", split="tset")


def test_test_is_another_word_for_val(opened):
    val, test = (evaluate(opened, "style", split=name, resamples=RESAMPLES) for name in ("val", "test"))
    assert test.methods == val.methods


@pytest.mark.parametrize("one", [["Dawn"] * 40, ["Dawn"] * 39 + [""]])
def test_one_class_cannot_be_measured_by(tmp_path, one):
    collection, _ = fill(tmp_path, clusters([""] * 40), {"style": one})
    with collection, pytest.raises(LabelError, match="one class of style only; two or more"):
        evaluate(collection, "style")


def test_nan_in_an_embedding_is_refused(trained, tmp_path):
    collection, _ = make(tmp_path, [STYLES[i % 4] for i in range(40)])
    collection.close()
    damage(tmp_path, 7)
    with open_collection(tmp_path) as collection, pytest.raises(EmbeddingError, match="not finite"):
        evaluate(collection, "style")


def test_an_interval_takes_resamples(opened):
    with pytest.raises(QueryError, match="resamples is 0"):
        evaluate(opened, "style", resamples=0)


def test_a_filter_hides_no_near_duplicate_of_a_work_that_the_head_has_seen(tmp_path):
    values = [STYLES[i // 5 % 4] for i in range(200)]
    rows = clusters(values, noise=2.0)
    rows[14] = rows[13] + 0.01 * rows[60]
    room = ["west" if i == 14 else "east" for i in range(200)]
    collection, entry = fill(tmp_path, rows, {"style": values}, extra={"split": parts(200), "room": room})
    with collection:
        head = train(collection, "style", choices=Choices(where="room = 'east'"))  # learns from work 13, id 14
        every = measured(collection, "style", entry, head, where="id > 0")
        some = measured(collection, "style", entry, head, where="id != 14")
        with pytest.raises(LabelError, match="no work to answer for style, or none of the part 'val', fits --where"):
            measured(collection, "style", entry, head, where="id = 5")
    for on in (every, some):
        assert (15 in on.works.ids, len(on.works)) == (False, 39)
        assert on.left_out == {"that the head has seen, or near-duplicates of those": 1}
