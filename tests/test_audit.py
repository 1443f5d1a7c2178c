"""The audit by value: flipped labels found far above chance, outliers, duplicates, and what is refused."""

import numpy as np
import pytest
from labelled_works import clusters, damage, embed, fill
from sklearn.decomposition import PCA

from simsearch.classifier import audit_outliers
from simsearch.classifier.audit import audit, audit_kinds
from simsearch.errors import EmbeddingError, LabelError, QueryError, WhereError

STYLES = ("Dawn", "Ember", "Moss", "Tide")


def flipped(values, count, seed=0):
    """The labels with `count` of them changed to another one, and the places of those."""
    random = np.random.default_rng(seed)
    places = random.permutation(len(values))[:count]
    out = list(values)
    for place in places.tolist():
        out[place] = str(random.choice([v for v in sorted(set(values)) if v != values[place]]))
    return out, set(places.tolist())


@pytest.fixture
def collection(tmp_path):
    """Makes a collection of these embeddings and styles, which is closed after the test."""
    made = []

    def make(rows, values, folder="works", **more):
        made.append(fill(tmp_path / folder, rows, {"style": values, **more.pop("labels", {})}, **more)[0])
        return made[-1]

    yield make
    for one in made:
        one.close()


def places(done, reason):
    return [f.artwork.id - 1 for f in done.findings if f.reason == reason]


# -- flipped labels ----------------------------------------------------------------------------------------------------


def test_flipped_labels_come_first_and_their_true_ones_are_suggested(collection):
    true = [STYLES[i % 4] for i in range(600)]
    given, wrong = flipped(true, 30)
    done = audit(collection(clusters(true, noise=1.0, seed=5), given), "style")
    first = [f for f in done.findings if f.reason == "label"][:30]
    hits = [f for f in first if f.artwork.id - 1 in wrong]
    assert len(hits) >= 25  # by chance one or two
    assert all(f.value == given[f.artwork.id - 1] and f.suggestion == true[f.artwork.id - 1] for f in hits)
    assert all(f.suggestion != f.value and f.probability > f.own_probability for f in first)
    assert done.agreement == pytest.approx(0.95, abs=0.03)
    assert (done.works, done.classes, dict(done.left_out)) == (600, 4, {})


def test_flips_are_found_far_above_chance_where_classes_overlap(collection):
    true = [STYLES[i % 4] for i in range(800)]
    given, wrong = flipped(true, 40, seed=3)
    done = audit(collection(clusters(true, noise=2.0, seed=6), given), "style")
    assert 0.5 < done.agreement < 0.85
    found = places(done, "label")
    assert len(wrong & set(found[:40])) >= 16  # 2 by chance
    assert len(wrong & set(found)) >= 30


def test_flips_in_a_small_class_are_not_lost_beside_large_ones(collection):
    true = ["Dawn"] * 400 + ["Ember"] * 300 + ["Moss"] * 30
    given = list(true)
    given[700:703], given[:3] = ["Dawn"] * 3, ["Moss"] * 3
    done = audit(collection(clusters(true, noise=0.8, seed=2), given), "style")
    first = places(done, "label")[:12]
    assert {0, 1, 2} < set(first[:6])
    assert {700, 701, 702} < set(first)


def test_a_near_duplicate_with_the_same_wrong_label_does_not_vouch_for_it(collection):
    true = [STYLES[i % 4] for i in range(200)]
    rows = clusters(true, noise=1.0, seed=7)
    rows[104] = rows[100]  # one picture, filed twice, both times under the wrong style
    given = [*true]
    given[100] = given[104] = "Tide"
    done = audit(collection(rows, given), "style")
    assert set(places(done, "label")[:2]) == {100, 104}
    assert [f.suggestion for f in done.findings[:2]] == ["Dawn", "Dawn"]


def test_scores_fall_within_a_reason_and_reasons_follow_each_other(collection):
    true = [STYLES[i % 4] for i in range(400)]
    given, _ = flipped(true, 40)
    rows = clusters(true, noise=2.0, seed=8)
    rows[1] = rows[0]
    done = audit(collection(rows, given), "style")
    reasons = [f.reason for f in done.findings]
    assert reasons == sorted(reasons, key=("label", "outlier", "duplicate").index)
    for reason in set(reasons):
        scores = [f.score for f in done.findings if f.reason == reason]
        assert scores == sorted(scores, reverse=True)
        assert all(0 <= score <= 1 for score in scores)
        assert done.found[reason] == len(scores)


def test_a_limit_keeps_the_first_of_each_reason_and_the_counts(collection):
    true = [STYLES[i % 4] for i in range(200)]
    works = collection(clusters(true, noise=2.0, seed=8), flipped(true, 20)[0])
    whole, cut = audit(works, "style"), audit(works, "style", limit=3)
    assert places(cut, "label") == places(whole, "label")[:3]
    assert cut.found == whole.found
    assert whole.found["label"] > 3


def test_the_same_seed_gives_the_same_findings(collection):
    true = [STYLES[i % 4] for i in range(160)]
    works = collection(clusters(true, noise=2.0, seed=8), flipped(true, 8)[0])
    once, again, other = (audit(works, "style", seed=seed).to_dict() for seed in (1, 1, 2))
    assert {**once, "seconds": 0} == {**again, "seconds": 0}
    assert once["findings"] != other["findings"]


def test_evidence_are_the_nearest_works_with_the_suggested_label(collection):
    true = [STYLES[i % 4] for i in range(200)]
    given, _ = flipped(true, 10)
    rows = clusters(true, noise=1.5, seed=9)
    works = collection(rows, given)
    stored = works.catalog.embeddings(1, rows.shape[1])[0]
    for finding in audit(works, "style", limit=5).findings:
        if finding.reason == "label":
            place = finding.artwork.id - 1
            others = [j for j in range(200) if given[j] == finding.suggestion]
            cosines = sorted(((float(stored[j] @ stored[place]), j) for j in others), reverse=True)[:4]
            assert [h.artwork.id - 1 for h in finding.evidence] == [j for _, j in cosines]
            assert [h.score for h in finding.evidence] == pytest.approx([cosine for cosine, _ in cosines], abs=1e-5)
            assert [h.rank for h in finding.evidence] == [1, 2, 3, 4]


def test_only_the_works_of_where_are_judged_and_teach(collection):
    true = [STYLES[i % 2] for i in range(120)]
    given = [*true]
    given[3], given[90] = "Dawn", "Ember"
    works = collection(
        clusters(true, noise=1.2, seed=1), given, extra={"room": ["A" if i < 60 else "B" for i in range(120)]}
    )
    done = audit(works, "style", where="room = 'A'")
    assert done.works == 60
    assert places(done, "label") == [3]
    with pytest.raises(WhereError, match="rom"):
        audit(works, "style", where="rom = 'A'")


def test_predictions_are_neither_judged_nor_learned_from(collection):
    true = [STYLES[i % 2] for i in range(60)]
    works = collection(clusters(true, seed=1), [*true[:50], *[""] * 10])
    with works.writer() as writer:
        writer.store_predictions("style", [(i + 1, "Tide", 0.9) for i in range(50, 60)])
    done = audit(works, "style")
    assert (done.works, done.classes) == (50, 2)


def test_each_kind_of_label_is_audited_unless_some_are_named(collection):
    values = [STYLES[i % 4] for i in range(80)]
    works = collection(clusters(values, seed=1), values, labels={"genre": ["one"] * 80, "artist": values})
    said = []
    works.notice = said.append
    assert [done.kind for done in audit_kinds(works)] == ["style", "artist"]
    assert said == ["not checked: genre has one class only ('one', 80 works); nothing can contradict it"]
    assert [done.kind for done in audit_kinds(works, ["artist", "artist"])] == ["artist"]
    with pytest.raises(LabelError, match="genre has one class only"):
        audit_kinds(works, ["genre"])


# -- outliers ----------------------------------------------------------------------------------------------------------


def test_works_unlike_their_class_are_outliers_whatever_the_class(collection):
    values = ["Dawn"] * 120 + ["Ember"] * 60 + ["Moss"] * 120
    random = np.random.default_rng(0)
    rows = clusters(values, dim=32, noise=0.4, seed=1)
    strange = random.normal(size=(1, 32))
    rows[[5, 130, 250]] = strange / np.linalg.norm(strange) + 0.02 * random.normal(size=(3, 32))
    done = audit(collection(rows, values), "style")
    found = [f for f in done.findings if f.reason == "outlier"]
    assert {f.artwork.id - 1 for f in found[:3]} == {5, 130, 250}
    assert all(f.suggestion is None and f.score >= 0.6 and len(f.evidence) == 4 for f in found)
    assert found[0].note.startswith("unlike the other ")


def test_small_classes_have_no_outliers():
    values = ["Dawn"] * 40 + ["Ember"] * 29
    scores = audit_outliers.anomalies(clusters(values), np.array([0] * 40 + [1] * 29))
    assert np.isfinite(scores[:40]).all()
    assert np.isnan(scores[40:]).all()


def test_the_components_are_those_of_scikit_learn():
    rows = clusters([STYLES[i % 4] for i in range(150)], dim=20, seed=3)
    ours, theirs = audit_outliers.principal(rows, 8), PCA(8, svd_solver="full").fit_transform(rows.astype(np.float64))
    assert np.abs(ours) == pytest.approx(np.abs(theirs), abs=1e-5)


def test_scores_of_classes_of_different_sizes_can_be_compared():
    values = ["Dawn"] * 40 + ["Ember"] * 1000
    scores = audit_outliers.anomalies(clusters(values, noise=1.0), np.array([0] * 40 + [1] * 1000))
    assert abs(np.median(scores[:40]) - np.median(scores[40:])) < 0.05


# -- duplicates --------------------------------------------------------------------------------------------------------


def duplicates(done):
    return [
        (f.artwork.id - 1, f.value, f.suggestion, [h.artwork.id - 1 for h in f.evidence])
        for f in done.findings
        if f.reason == "duplicate"
    ]


def test_the_same_file_with_two_labels_is_found_and_neither_is_preferred(collection):
    values = [STYLES[i % 4] for i in range(60)]
    photographs = list(range(60))
    photographs[41], photographs[44] = 10, 20  # 44 and 20 agree
    rows = clusters(values, noise=1.5, seed=1)
    rows[41], rows[44] = rows[10], rows[20]
    done = audit(collection(rows, values, images=photographs), "style")
    assert duplicates(done) == [(10, "Moss", None, [41]), (41, "Ember", None, [10])]
    found = [f for f in done.findings if f.reason == "duplicate"]
    assert [(f.score, f.note) for f in found] == [(1.0, "the same file, labelled Ember, Moss")] * 2


def test_the_label_of_most_of_a_group_is_suggested_to_the_rest(collection):
    values = [STYLES[i % 4] for i in range(60)]
    rows = clusters(values, noise=1.5, seed=1)
    random = np.random.default_rng(1)
    for place in (4, 8, 13):
        rows[place] = rows[0] + 0.01 * random.normal(size=16)
    done = audit(collection(rows, values), "style")
    ((place, value, suggestion, evidence),) = duplicates(done)
    assert (place, value, suggestion, set(evidence)) == (13, "Ember", "Dawn", {0, 4, 8})
    found = next(f for f in done.findings if f.reason == "duplicate")
    assert found.note == "nearly the same picture, labelled Dawn (3), Ember"
    assert 0.95 < found.score < 1.0


def test_a_duplicate_that_another_encoder_sees_counts_too(collection):
    values = [STYLES[i % 4] for i in range(60)]
    works = collection(clusters(values, noise=1.5, seed=1), values)
    second = clusters(values, noise=1.5, seed=2)
    second[7] = second[2]
    embed(works, second, "second")
    done = audit(works, "style", encoder="synthetic")
    assert [(place, value) for place, value, *_ in duplicates(done)] == [(2, "Moss"), (7, "Tide")]


# -- what is not checked -----------------------------------------------------------------------------------------------


def test_labels_with_few_works_are_counted_and_named(collection):
    values = [STYLES[i % 2] for i in range(40)] + ["Dwan", "Moss", "Moss"]
    done = audit(collection(clusters(values), values), "style")
    assert done.left_out == {"of labels with fewer than 5 works: Dwan, Moss": 3}
    assert (done.works, done.classes) == (40, 2)


def test_a_label_of_near_duplicates_alone_is_not_checked(collection):
    values = [STYLES[i % 2] for i in range(40)] + ["Moss"] * 6
    rows = clusters(values, noise=1.0)
    rows[40:] = rows[40]
    done = audit(collection(rows, values), "style")
    assert done.left_out == {"of a label whose works are all near-duplicates of each other": 6}
    assert not [f for f in done.findings if f.value == "Moss"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([""] * 20, "no work of this collection has a label to learn from"),
        (["Dawn"] * 20, r"style has one class only \('Dawn', 20 works\)"),
        (["Dawn"] * 19 + ["Ember"], "of 2 classes of style only one has 5 works"),
        (["Dawn", "Ember", "Moss", "Tide"] * 2, "of 4 classes of style none has 5 works"),
    ],
)
def test_labels_that_nothing_can_be_learned_from_are_refused(collection, values, said):
    with pytest.raises(LabelError, match=said):
        audit(collection(clusters(values), values), "style")


def test_an_unknown_kind_is_refused_with_the_nearest_there_is(collection):
    values = [STYLES[i % 2] for i in range(20)]
    with pytest.raises(LabelError, match="did you mean 'style'"):
        audit(collection(clusters(values), values), "stile")


def test_a_damaged_embedding_is_refused(collection, tmp_path):
    values = [STYLES[i % 2] for i in range(20)]
    works = collection(clusters(values), values)
    damage(tmp_path / "works", 7)
    with pytest.raises(EmbeddingError, match="not finite"):
        audit(works, "style")


@pytest.mark.parametrize("options", [{"folds": 1}, {"limit": 0}])
def test_numbers_that_make_no_audit_are_refused(collection, options):
    with pytest.raises(QueryError, match="two folds at least"):
        audit(collection(clusters(["a", "b"]), ["a", "b"]), "style", **options)
