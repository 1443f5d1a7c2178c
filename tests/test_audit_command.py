"""``simsearch audit`` as a process: what it says, writes and applies, and how it refuses what it cannot work with."""

import csv
import json
import shutil

import pytest
from labelled_works import MISLED, STYLES, clusters, damage, fill, indexed, painted

from simsearch import open_collection
from simsearch.commands.audit import LIMIT
from simsearch.figures import REVIEW_COLUMNS
from simsearch.show.review_file import NEEDED


@pytest.fixture(scope="module")
def audited(tmp_path_factory, command):
    """A painted collection, and what `audit` of its styles said, with review.csv and review.html; to be read only."""
    folder = tmp_path_factory.mktemp("audit")
    rows = painted(folder)
    indexed(folder)
    done = command("audit", "--label", "style", "--html", "review.html", "--csv", "review.csv", cwd=folder)
    return folder, rows, done


@pytest.fixture
def copy(audited, tmp_path):
    """A copy of the collection and its review, to change."""
    shutil.copytree(audited[0], tmp_path / "copy")
    return tmp_path / "copy"


def read(folder):
    with (folder / "review.csv").open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def write(folder, rows, **options):
    with (folder / "review.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]), **options)
        table.writeheader()
        table.writerows(rows)


# -- finding -----------------------------------------------------------------------------------------------------------


def test_works_that_wear_another_style_are_found(audited):
    _, said, _ = audited
    worn = {row["path"] for i, row in enumerate(said) if i % MISLED == i // len(STYLES) % MISLED}
    found = [row for row in read(audited[0]) if row["reason"] == "label"]
    assert len(worn & {row["source_id"] for row in found[: len(worn)]}) >= len(worn) - 2
    assert len(worn) == len(said) // MISLED


def test_what_the_terminal_says(audited):
    folder, _, done = audited
    lines = done.lines
    assert lines[0].startswith("style: 120 works with 4 labels, by color; what the others teach agrees with 8")
    counts = {line.split()[0]: int(line.split()[1]) for line in lines[1:4]}
    assert list(counts) == ["label", "outlier", "duplicate"]
    rows = read(folder)
    assert counts == {reason: sum(row["reason"] == reason for row in rows) for reason in counts}
    assert lines[5].split() == ["id", "title", "or", "file", "style", "now", "suggested", "score"]
    assert lines[6].split()[:2] == ["label", rows[0]["id"]]
    assert len(lines) == 6 + sum(min(n, 5) for n in counts.values())
    assert done.err.endswith(
        "review in review.csv\nreview sheet in review.html\n"
        "now write yes under accept, or the right label under correction, and run "
        "`simsearch audit --apply review.csv`\n"
    )


def test_the_review_has_its_columns_and_the_page_its_works(audited):
    folder, _, _ = audited
    rows = read(folder)
    assert tuple(rows[0]) == REVIEW_COLUMNS
    assert all(row["accept"] == row["correction"] == "" for row in rows)
    page = (folder / "review.html").read_text(encoding="utf-8")
    assert page.count('class="finding"') == len(rows)
    assert "data:image/jpeg;base64," in page
    assert "simsearch audit --apply review.csv" in page


def test_json_holds_every_kind_that_can_be_checked(audited, command):
    folder, said, _ = audited
    done = command("audit", "--json", "--limit", 2, "--where", "split = 'train'", cwd=folder)
    records = {record["kind"]: record for record in done.records}
    assert list(records) == ["style", "genre", "artist"]
    train = [row for row in said if row["split"] == "train"]
    for kind, record in records.items():
        assert record["works"] == len(train)
        assert record["classes"] == len({row[kind] for row in train})
        reasons = [finding["reason"] for finding in record["findings"]]
        assert all(reasons.count(reason) == min(2, n) for reason, n in record["found"].items())
    first = records["style"]["findings"][0]
    assert {"id", "title", "value", "suggestion", "score", "probability", "own_probability", "evidence"} <= set(first)
    assert "now add --html review.html --csv review.csv" in done.err


def test_the_same_seed_writes_the_same_review(audited, command, tmp_path):
    folder, _, _ = audited
    again = tmp_path / "again.csv"
    command("audit", "--label", "style", "--csv", again, cwd=folder)
    assert again.read_bytes() == (folder / "review.csv").read_bytes()


def test_a_limit_of_zero_gives_all(command, tmp_path):
    values = [STYLES[i % 4] for i in range(400)]
    fill(tmp_path, clusters(values, noise=6.0), {"style": values})[0].close()
    cut = json.loads(command("audit", "--label", "style", "--json", cwd=tmp_path).out)
    whole = json.loads(command("audit", "--label", "style", "--json", "--limit", 0, cwd=tmp_path).out)
    assert len(cut["findings"]) == LIMIT
    assert len(whole["findings"]) == whole["found"]["label"] > LIMIT
    assert whole["findings"][:LIMIT] == cut["findings"]


# -- applying ----------------------------------------------------------------------------------------------------------


def test_a_filled_in_review_is_applied_and_everything_sees_it(copy, command):
    rows = [row for row in read(copy) if row["reason"] == "label"]
    rows[0]["accept"], rows[1]["accept"], rows[2]["correction"] = "Yes", "no", "Vesper"
    write(copy, rows, delimiter=";", lineterminator="\r\n")
    done = command("audit", "--apply", "review.csv", cwd=copy)
    assert done.lines == [
        f"2 works labelled by you, {len(rows) - 2} lines left as they are",
        "'Vesper' is a new style: no other work had it",
    ]
    found = command("similar", rows[2]["id"], "--include-self", "--where", "style = 'Vesper'", "--json", cwd=copy)
    assert [(hit["id"], hit["style"]) for hit in found.records] == [(int(rows[2]["id"]), "Vesper")]
    with open_collection(copy) as collection:
        now = {work.id: work.style for work in collection.catalog.all_artworks()}
    assert now[int(rows[0]["id"])] == rows[0]["suggestion"]
    assert now[int(rows[1]["id"])] == rows[1]["value"]
    assert (
        command("audit", "--apply", "review.csv", cwd=copy).lines[0].startswith("0 works labelled by you, 2 lines so")
    )


def test_works_that_are_gone_are_listed_with_status_three(copy, command):
    rows = [row | {"accept": "yes"} for row in read(copy) if row["reason"] == "label"]
    (copy / "art" / rows[0]["source_id"]).unlink()
    command("index", cwd=copy)
    write(copy, rows)
    done = command("audit", "--apply", "review.csv", cwd=copy, status=3)
    assert done.lines == [f"{len(rows) - 1} works labelled by you, 1 line left aside"]
    gone = f"work {rows[0]['id']}, {rows[0]['source_id']} of folder:art, is not in this collection (any more)"
    assert done.err == f"review.csv, line 2: {gone}\n"


def test_a_long_list_of_lines_left_aside_is_cut(copy, command):
    row = next(row for row in read(copy) if row["reason"] == "label")
    gone = [row | {"id": str(1000 + i), "accept": "yes"} for i in range(30)]
    write(copy, [row | {"accept": "yes"}, *gone])
    done = command("audit", "--apply", "review.csv", cwd=copy, status=3)
    assert done.lines == ["1 work labelled by you, 30 lines left aside"]
    assert len(done.err.splitlines()) == 21
    assert done.err.endswith("and 10 more such lines\n")


@pytest.mark.parametrize("missing", [NEEDED[1], NEEDED[-2]])
def test_a_review_without_a_column_is_refused(audited, command, tmp_path, missing):
    folder, _, _ = audited
    rows = [{name: text for name, text in row.items() if name != missing} for row in read(folder)]
    write(tmp_path, rows)
    done = command("audit", "--apply", tmp_path / "review.csv", cwd=folder, status=1)
    assert f"has no column '{missing}'" in done.err
    assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b"id,source\n\xe9,1\n", "is not UTF-8"),
        (
            b"id,source,source_id,kind,value,suggestion,accept,correction\n1,folder:x,a.png,style,Dawn,Ember,yes,\n",
            "another collection, or its works are gone: line 2: work 1 is ",
        ),
    ],
)
def test_a_file_that_cannot_be_applied_is_refused_in_one_line(audited, command, tmp_path, data, said):
    review = tmp_path / "review.csv"
    review.write_bytes(data)
    done = command("audit", "--apply", review, cwd=audited[0], status=1)
    assert said in done.err
    assert (done.out, len(done.err.splitlines())) == ("", 1)


def test_a_review_that_is_not_there_is_refused(audited, command):
    done = command("audit", "--apply", "none.csv", cwd=audited[0], status=1)
    assert done.err == "simsearch: none.csv cannot be read: No such file or directory\n"


@pytest.mark.parametrize("more", [["--html", "x.html"], ["--label", "style"], ["--json"], ["--where", "id = 1"]])
def test_apply_stands_alone(audited, command, more):
    assert "--apply stands alone" in command("audit", "--apply", "review.csv", *more, cwd=audited[0], status=2).err


# -- refusing ----------------------------------------------------------------------------------------------------------


def refusal(command, folder, *arguments, status=1):
    done = command("audit", *arguments, cwd=folder, status=status)
    assert done.out == ""
    return done.err.splitlines()[-1].removeprefix("simsearch: ")


@pytest.mark.parametrize(
    ("values", "arguments", "said"),
    [
        ([""] * 12, [], "no work of this collection has a label to learn from; put an artworks.csv"),
        ([""] * 12, ["--label", "style"], "no work of this collection has a label to learn from; put an artworks.csv"),
        (["Dawn"] * 12, [], "style has one class only ('Dawn', 12 works)"),
        (["Dawn"] * 11 + ["Ember"], ["--label", "style"], "of 2 classes of style only one has 5 works"),
        (["Dawn", "Ember"] * 6, ["--label", "styel"], "no work of this collection has a label 'styel'; did you mean"),
    ],
)
def test_labels_that_cannot_be_checked_are_refused(command, tmp_path, values, arguments, said):
    fill(tmp_path, clusters(values), {"style": values})[0].close()
    assert refusal(command, tmp_path, *arguments).startswith(said)


def test_a_damaged_embedding_is_refused(command, tmp_path):
    values = ["Dawn", "Ember"] * 10
    fill(tmp_path, clusters(values), {"style": values})[0].close()
    damage(tmp_path, 3)
    assert "holds a number that is not finite" in refusal(command, tmp_path)


def test_a_wrong_filter_is_wrong_usage(audited, command):
    assert "is not a column" in refusal(command, audited[0], "--where", "styl = 'x'", status=2)


def test_an_unknown_encoder_is_refused(audited, command):
    assert "did you mean 'color'" in refusal(command, audited[0], "--encoder", "colr")


def test_a_file_that_cannot_be_written_is_refused(audited, command):
    done = command("audit", "--label", "style", "--csv", "no/such/review.csv", cwd=audited[0], status=1)
    assert "no/such/review.csv cannot be written: No such file or directory" in done.err
