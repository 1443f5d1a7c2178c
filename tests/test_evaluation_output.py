"""`simsearch.show.evaluation`: what a terminal says of an evaluation is what was measured."""

import io
from dataclasses import replace

import pytest
from evaluations import evaluation

from simsearch.figures import Comparison, Difference
from simsearch.records import Estimate
from simsearch.show.evaluation import show_comparison, show_evaluation
from simsearch.show.numbers import counted, decimals, difference, estimate, p_value, per_cent, points

NAN = float("nan")


def shown(measured):
    out = io.StringIO()
    show_evaluation(measured, out)
    return out.getvalue().splitlines()


def compared(comparison):
    out = io.StringIO()
    show_comparison(comparison, out)
    return out.getvalue().splitlines()


def row(lines, name):
    """The cells of the table's row of this name."""
    (line,) = [line for line in lines if line.startswith(f"{name}  ") or line == name]
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


# -- numbers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.62, ".620"), (1.0, "1.000"), (0.0, ".000"), (-0.0004, ".000"), (-0.0126, "-.013"), (1.25, "1.250"), (NAN, "-")],
)
def test_decimals(value, text):
    assert decimals(value) == text


def test_an_estimate_stands_before_its_interval():
    assert estimate(Estimate(0.62, 0.606, 0.634)) == ".620 [.606-.634]"
    assert estimate(Estimate(1, 0.9996, 1)) == "1.000 [1.000-1.000]"
    assert estimate(Estimate(NAN, NAN, NAN)) == "-"


def test_a_difference_has_its_sign():
    assert difference(Estimate(0.021, -0.004, 0.046)) == "+.021 [-.004 to +.046]"
    assert difference(Estimate(-0.5, -1, -0.25)) == "-.500 [-1.000 to -.250]"


@pytest.mark.parametrize(
    ("p", "text"), [(0.0, "< .001"), (0.0009, "< .001"), (0.001, ".001"), (1.0, "1.000"), (NAN, "-")]
)
def test_p_values(p, text):
    assert p_value(p) == text


def test_words_for_shares_and_counts():
    assert per_cent(0.6204) == "62.0 %"
    assert per_cent(-0.0001) == "0.0 %"
    assert (points(0.01), points(-0.079)) == ("1.0 point", "7.9 points")
    assert (counted(1, "class", "classes"), counted(4410, "work")) == ("1 class", "4,410 works")


# -- evaluations -------------------------------------------------------------------------------------------------------


def test_each_method_is_a_row_with_top_1_top_5_and_macro_f1():
    measured = evaluation(8, 300)
    lines = shown(measured)
    assert row(lines, "naming the style")[1:] == ["top-1", "top-5", "macro F1"]
    for method in measured.methods:
        name = "head style" if method.name == "style" else method.name
        figures = [method.figures.get(figure) for figure in ("top1", "top5", "macro_f1")]
        assert row(lines, name)[1:] == [estimate(figure) if figure else "-" for figure in figures]


def test_the_answer_comes_first_with_what_is_simpler_beside_it():
    measured = evaluation(8, 300)
    top1 = {method.name: per_cent(method.figures["top1"].value) for method in measured.methods}
    lines = shown(measured)
    assert lines[0] == "style: 300 held-out works of val by 37 artists, against 340 labelled works"
    assert lines[1] == "encoder grid@1 (12 numbers, digest abababab)"
    assert lines[2] == (
        f"The head names the style of {top1['style']} of the works rightly; the nearest work alone "
        f"{top1['nearest work']}, always the commonest class {top1['majority']}, guessing {top1['chance']}."
    )
    answered, right = per_cent(measured.head.answered.value), per_cent(measured.head.accuracy_answered.value)
    sure = per_cent(measured.head.threshold)
    assert lines[3] == f"It is at least {sure} sure of {answered} of the works, and right for {right} of those."


def test_retrieval_stands_with_and_without_the_same_artist():
    measured = evaluation(8, 300)
    lines = shown(measured)
    assert row(lines, "finding the same style")[1:] == ["P@1", "P@10", "mAP", "recall@100", "queries"]
    for name, found in zip(("all artists", "other artists only"), measured.retrieval, strict=True):
        figures = (found.p1, found.p10, found.map, found.recall[100])
        assert row(lines, name)[1:] == [*map(estimate, figures), str(found.queries)]


def test_queries_that_had_nothing_to_find_are_counted():
    measured = evaluation(8, 300)
    without = tuple(replace(found, without_relevant=n) for found, n in zip(measured.retrieval, (0, 1), strict=True))
    lines = shown(replace(measured, retrieval=without))
    assert [line for line in lines if "nothing to find" in line] == ["other artists only: 1 query had nothing to find"]


def test_calibration_and_abstention_are_a_line_each():
    head = evaluation(8, 300).head
    gap = sum(
        n * (c - a)
        for n, c, a in zip(head.reliability.count, head.reliability.confidence, head.reliability.accuracy, strict=True)
    )
    assert abs(gap) / 300 > 0.005
    words = f"{abs(gap) / 3:.1f} points {'surer' if gap > 0 else 'less sure'}"
    lines = shown(evaluation(8, 300))
    assert (
        f"calibration: ECE {estimate(head.ece)}, Brier {estimate(head.brier)}, on the whole {words} than it is right"
        in lines
    )
    assert (
        f"unsure below {decimals(head.threshold)}: {estimate(head.answered)} of the works answered, "
        f"{estimate(head.accuracy_answered)} of them rightly" in lines
    )


def test_the_five_worst_confusions_are_told_in_order():
    head = evaluation(16, 600).head
    assert len(head.confused) > 5
    lines = shown(evaluation(16, 600))
    start = next(i for i, line in enumerate(lines) if line.startswith("most confused"))
    supports = {figures.name: figures.support for figures in head.per_class}
    told = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines[start + 1 : start + 6]]
    assert told == [
        [pair.true, pair.predicted, f"{pair.count} of {supports[pair.true]}", per_cent(pair.share)]
        for pair in head.confused[:5]
    ]
    assert lines[start + 6] == ""


def test_what_was_left_out_and_how_intervals_came_about_stand_at_the_end():
    assert shown(evaluation(8, 300))[-3:] == [
        "left out: 3 works without an embedding",
        "left out: 1 work of classes that the head does not know",
        "in brackets: 95 % intervals from 200 bootstrap resamples, seed 7",
    ]


def test_without_a_head_the_nearest_works_answer():
    measured = evaluation(8, 300)
    lines = shown(replace(measured, head=None, methods=measured.methods[1:]))
    nearest = measured.methods[1].figures["top1"].value
    assert lines[2].startswith(f"The nearest work has the same style for {per_cent(nearest)} of the works; always the ")
    assert lines[3] == "No head was measured; simsearch train --label style trains one."
    assert not any("top-5" in line or "calibration" in line for line in lines)


def test_top_5_of_a_few_classes_says_nothing_and_is_left_away():
    assert row(shown(evaluation(4, 200)), "naming the style")[1:] == ["top-1", "macro F1"]


def test_a_head_that_lives_on_a_few_large_classes_is_said_to():
    measured = evaluation(8, 300)
    flat = replace(measured.methods[0], figures=measured.methods[0].figures | {"macro_f1": Estimate(0.12, 0.1, 0.14)})
    words = "Its macro F1 is no more than .120"
    assert any(line.startswith(words) for line in shown(replace(measured, methods=(flat, *measured.methods[1:]))))
    assert not any(line.startswith("Its macro F1") for line in shown(measured))


def test_figures_of_works_that_the_head_has_seen_are_said_to_be_memory():
    lines = shown(replace(evaluation(8, 300), split="train"))
    assert lines[0].startswith("style: 300 works that were trained on by 37 artists")
    assert any("has seen these very works" in line for line in lines)


def test_figures_that_are_not_defined_are_dashes():
    measured = evaluation(8, 300)
    nothing = Estimate(NAN, NAN, NAN)
    head = replace(measured.head, answered=Estimate(0, 0, 0), accuracy_answered=nothing, confused=())
    retrieval = tuple(replace(found, p1=nothing, p10=nothing, map=nothing) for found in measured.retrieval)
    lines = shown(replace(measured, head=head, retrieval=retrieval))
    assert row(lines, "all artists")[1:4] == ["-", "-", "-"]
    assert not any("nan" in line for line in lines)
    assert not any(line.startswith("It is at least") for line in lines)


def test_no_name_can_command_the_terminal():
    hostile = tuple(f"A\x1b[2J\nB{i}" for i in range(8))
    measured = replace(evaluation(8, 300, names=hostile), kind="st\x1b[31myle")
    lines = shown(measured)
    assert "\x1b" not in "".join(lines)
    assert sum(line.startswith("A\N{REPLACEMENT CHARACTER}[2J B") for line in lines) == 5


# -- comparisons -------------------------------------------------------------------------------------------------------


def comparison(p=0.0004, change=0.021, **values):
    rows = (
        Difference("top1", Estimate(0.6, 0.58, 0.62), Estimate(0.621, 0.6, 0.64), Estimate(change, 0.01, 0.032), p),
        Difference("P@10", Estimate(0.4, 0.39, 0.41), Estimate(0.4, 0.39, 0.41), Estimate(0, -0.01, 0.01), 1.0),
    )
    return Comparison("style", "color/style", "dino/style", "val", 1200, 210, 302, rows, **values)


def test_a_comparison_puts_both_sides_their_difference_and_the_test_in_a_row():
    lines = compared(comparison())
    assert lines[:3] == ["style: 1,200 works of val, held out from both", "a  color/style", "b  dino/style"]
    assert row(lines, "top-1")[1:] == [".600 [.580-.620]", ".621 [.600-.640]", "+.021 [+.010 to +.032]", "< .001"]
    assert row(lines, "P@10")[1:] == [".400 [.390-.410]", ".400 [.390-.410]", "+.000 [-.010 to +.010]", "1.000"]
    assert lines[-1] == (
        "only a is right on 210 works, only b on 302; b is better, by more than chance explains (p < .001)"
    )


def test_a_difference_that_may_be_chance_is_said_to():
    assert compared(comparison(p=0.2))[-1].endswith("that difference could well be chance (p .200)")
    assert compared(comparison(change=-0.02))[-1].endswith("a is better, by more than chance explains (p < .001)")


def test_encoders_without_heads_are_compared_by_retrieval_alone():
    full = comparison()
    bare = replace(full, only_a=None, only_b=None, differences=full.differences[1:])
    lines = compared(bare)
    assert row(lines, "P@10")[-1] == "1.000"
    assert lines[-1] == "p: how often a difference at least as large would come by chance alone"
