"""`simsearch.show.plots`: what is drawn is what was measured."""

import io
import subprocess
import sys
from dataclasses import replace

import matplotlib
import numpy as np
import pytest
from evaluations import evaluation
from PIL import Image
from scipy.stats import binomtest

from simsearch.figures import Reliability
from simsearch.records import Estimate
from simsearch.show import plots
from simsearch.show.confusion import OTHERS, excerpt

PLOTS = (plots.confusion_plot, plots.reliability_plot, plots.coverage_plot)
HOSTILE = (
    "$\\frac{1}$", "two\nlines", "Ukiyo-e 浮世絵", "ציור עברי", "x" * 200, "<script>", "\x1b[31m\udcff", "  ", "_^{",
    "50 %",
)  # fmt: skip


def head(classes=16, works=600, **changes):
    return replace(evaluation(classes, works).head, **changes)


def shares_of(measured):
    counts = np.array(measured.confusion, float)
    return counts / np.maximum(counts.sum(1, keepdims=True), 1)


def drawn_shares(axes):
    """The layers of right and of wrong answers laid over each other."""
    right, wrong = (image.get_array() for image in axes.images)
    assert (right.mask != wrong.mask).all()
    return np.where(right.mask, wrong.data, right.data)


def figure_of(plot, measured):
    return getattr(plots, plot.__name__.replace("plot", "figure"))(measured)


def picture(png):
    with Image.open(io.BytesIO(png)) as image:
        image.load()
        return image


# -- confusion ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("classes", "works"), [(2, 200), (16, 600), (40, 600)])
def test_a_cell_is_its_share_of_the_true_class(classes, works):
    measured = head(classes, works)
    (axes,) = plots.confusion_figure(measured).axes
    assert drawn_shares(axes) == pytest.approx(shares_of(measured))
    right, _ = axes.images
    assert (~right.get_array().mask == np.eye(classes, dtype=bool)).all()
    assert [label.get_text() for label in axes.get_xticklabels()] == list(measured.classes)


def test_rows_bear_the_number_of_their_works():
    measured = head()
    (axes,) = plots.confusion_figure(measured).axes
    rows = [label.get_text().rsplit(maxsplit=1) for label in axes.get_yticklabels()]
    assert [name for name, _ in rows] == list(measured.classes)
    assert [int(n) for _, n in rows] == [row.support for row in measured.per_class]


def test_numbers_in_the_cells_are_whole_per_cents_and_small_ones_are_left_away():
    measured = head()
    (axes,) = plots.confusion_figure(measured).axes
    shown = {tuple(map(int, text.get_position()[::-1])): int(text.get_text()) for text in axes.texts}
    shares = shares_of(measured)
    assert shown == {
        place: round(100 * share)
        for place, share in np.ndenumerate(shares)
        if round(100 * share) or place[0] == place[1]
    }


def test_no_numbers_are_written_where_they_could_not_be_read():
    assert not plots.confusion_figure(head(40, 600)).axes[0].texts


def test_of_many_classes_those_most_often_confused_are_shown_and_the_rest_together():
    measured = head(234, 700)
    part = excerpt(measured)
    counts = np.array(measured.confusion)
    pairs = sorted((-int(counts[i, j]), i, j) for i in range(234) for j in range(234) if i != j and counts[i, j])
    chosen = list(dict.fromkeys(place for _, i, j in pairs for place in (i, j)))[:30]
    names = [measured.classes[i] for i in sorted(chosen)]
    assert list(part.rows) == names
    assert list(part.columns) == [*names, OTHERS]
    assert part.of == 234
    rest = [i for i in range(234) if i not in chosen]
    support = counts[sorted(chosen)].sum(1)
    assert part.support == tuple(support)
    assert part.shares[:, -1] * support == pytest.approx(counts[np.ix_(sorted(chosen), rest)].sum(1))
    (axes,) = plots.confusion_figure(measured).axes
    assert drawn_shares(axes) == pytest.approx(part.shares)
    assert "30 of 234 classes" in axes.get_xlabel()


@pytest.mark.parametrize(("classes", "shown"), [(40, 40), (41, 30)])
def test_a_matrix_is_cut_only_where_it_could_not_be_read(classes, shown):
    assert len(excerpt(head(classes, 600)).rows) == shown


def test_classes_that_are_never_confused_are_no_part_of_an_excerpt_before_those_that_are():
    perfect = head(60, 600, confusion=tuple(map(tuple, np.diag(np.full(60, 5)).tolist())))
    assert len(excerpt(perfect).rows) == 30
    assert (excerpt(perfect).shares[:, :-1] == np.eye(30)).all()


def test_a_class_without_works_is_an_empty_row():
    counts = np.array(head().confusion)
    counts[3] = 0
    (axes,) = plots.confusion_figure(head(confusion=tuple(map(tuple, counts.tolist())))).axes
    assert (drawn_shares(axes)[3] == 0).all()


# -- reliability -------------------------------------------------------------------------------------------------------


def test_bars_points_and_histogram_are_the_bins():
    measured = head()
    bins = measured.reliability
    filled = np.array(bins.count) > 0
    assert not filled.all()
    above, below = plots.reliability_figure(measured).axes
    bars = [(bar.get_x(), bar.get_width(), bar.get_height()) for bar in above.patches]
    assert bars == pytest.approx(
        np.column_stack([np.array(bins.edges)[:-1], np.diff(bins.edges), bins.accuracy])[filled]
    )
    points = above.containers[1].lines[0]
    assert points.get_xydata() == pytest.approx(np.column_stack([bins.confidence, bins.accuracy])[filled])
    assert [bar.get_height() for bar in below.patches] == list(bins.count)
    (diagonal,) = [line for line in above.lines if line.get_linestyle() == "--"]
    assert diagonal.get_xydata().tolist() == [[0, 0], [1, 1]]


def test_the_calibration_error_is_said_with_its_interval():
    measured = head(ece=Estimate(0.0214, 0.0163, 0.0291))
    above, _ = plots.reliability_figure(measured).axes
    assert above.get_title(loc="left") == "Expected calibration error .021 [.016-.029]"


def test_intervals_of_shares_are_wilsons():
    cases = [(0, 1), (1, 1), (3, 7), (50, 100), (999, 1000)]
    low, high = plots.wilson([k / n for k, n in cases], [n for _, n in cases])
    for (k, n), *found in zip(cases, low, high, strict=True):
        want = binomtest(k, n).proportion_ci(method="wilson")
        assert found == pytest.approx([want.low, want.high], abs=1e-6)


# -- coverage ----------------------------------------------------------------------------------------------------------


def test_the_curve_and_the_threshold_are_where_they_were_measured():
    measured = head()
    (axes,) = plots.coverage_figure(measured).axes
    assert axes.lines[0].get_xydata() == pytest.approx(np.array(measured.coverage))
    (container,) = axes.containers
    x, y = measured.answered, measured.accuracy_answered
    assert container.lines[0].get_xydata() == pytest.approx(np.array([[x.value, y.value]]))
    across, up = (bar.get_segments()[0] for bar in container.lines[2])
    assert across == pytest.approx(np.array([[x.low, y.value], [x.high, y.value]]))
    assert up == pytest.approx(np.array([[x.value, y.low], [x.value, y.high]]))
    low, high = axes.get_ylim()
    assert low <= min(a for _, a in measured.coverage)
    assert high >= 1


def test_the_last_point_is_named_where_its_words_have_room():
    measured = head(answered=Estimate(0.7, 0.6, 0.8), accuracy_answered=Estimate(0.9, 0.8, 1.0))
    for accuracy, shown in ((0.5, ["everything answered: 50.0 % rightly"]), (0.89, [])):
        (axes,) = plots.coverage_figure(replace(measured, coverage=((0.7, 0.9), (1.0, accuracy)))).axes
        assert [text.get_text() for text in axes.texts if text.get_text().startswith("everything")] == shown


def test_where_nothing_is_answered_the_curve_stands_alone():
    nothing = Estimate(float("nan"), float("nan"), float("nan"))
    measured = head(
        answered=Estimate(0.0, 0.0, 0.0), accuracy_answered=nothing, coverage=((0.0, float("nan")), (1.0, 0.5))
    )
    (axes,) = plots.coverage_figure(measured).axes
    assert not axes.containers
    assert axes.lines[0].get_xydata().tolist() == [[1.0, 0.5]]


# -- as files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("plot", "classes"), [*((plot, 16) for plot in PLOTS), (plots.confusion_plot, 2)])
def test_a_plot_is_a_png_on_paper_of_the_size_of_its_figure(plot, classes):
    measured = head(classes)
    image = picture(plot(measured))
    figure = figure_of(plot, measured)
    assert image.format == "PNG"
    assert image.size == tuple(int(side * plots.DPI + 1e-6) for side in figure.get_size_inches())
    assert 300 <= image.width * plots.SHOWN_DPI / plots.DPI <= 1300
    pixels = image.convert("RGB")
    assert pixels.getpixel((0, 0)) == pixels.getpixel((image.width - 1, image.height - 1)) == (0xFD, 0xFC, 0xFA)
    assert len(pixels.getcolors(1 << 24)) > 20


@pytest.mark.parametrize("plot", PLOTS)
def test_the_same_figures_give_the_same_bytes_whatever_the_users_settings_are(plot):
    once = plot(head())
    with matplotlib.rc_context({"axes.facecolor": "red", "font.size": 30, "savefig.dpi": 40, "text.usetex": True}):
        assert plot(head()) == once
        assert matplotlib.rcParams["axes.facecolor"] == "red"
    assert picture(once).info.keys() <= {"dpi"}


@pytest.fixture
def hostile():
    return replace(head(10, 200), classes=tuple(sorted(HOSTILE)))


def test_hostile_names_are_drawn_without_a_warning(hostile):
    assert picture(plots.confusion_plot(hostile)).width < 2600


@pytest.mark.filterwarnings("ignore:Glyph")  # the figure alone is drawn with matplotlib's own font
def test_names_are_drawn_as_they_are_and_never_read_as_formulas(hostile):
    (axes,) = plots.confusion_figure(hostile).axes
    labels = axes.get_xticklabels()
    assert not any(label.get_parse_math() for label in labels)
    shown = [label.get_text() for label in labels]
    assert all(len(name) <= plots.NAME_LENGTH and name.isprintable() and name.strip() for name in shown)
    assert "$\\frac{1}$" in shown


@pytest.mark.parametrize(
    ("plot", "classes"), [*((plots.confusion_plot, n) for n in (2, 3, 9, 30)), *((plot, 9) for plot in PLOTS[1:])]
)
def test_no_words_reach_over_the_edge(plot, classes):
    measured = head(classes, 200)
    long = tuple(f"{name}, a rather long name of a class" for name in measured.classes)
    figure = figure_of(plot, replace(measured, classes=long))
    box = figure.get_tightbbox(figure.canvas.get_renderer())
    width, height = figure.get_size_inches()
    assert 0 < box.x0 < box.x1 < width
    assert 0 < box.y0 < box.y1 < height


def test_one_bin_only_and_one_answer_only_can_be_drawn():
    measured = head(
        reliability=Reliability((0.0, 1.0), (0.5,), (1.0,), (1,)), coverage=((1.0, 1.0),),
        answered=Estimate(1, 1, 1), accuracy_answered=Estimate(1, 1, 1),
    )  # fmt: skip
    assert picture(plots.reliability_plot(measured)).width == picture(plots.coverage_plot(measured)).width == 1240


def test_drawing_leaves_pyplot_alone():
    code = """
import sys; sys.path.insert(0, "tests")
from evaluations import evaluation
from simsearch.show import plots
assert "matplotlib" not in sys.modules
for draw in (plots.confusion_plot, plots.reliability_plot, plots.coverage_plot):
    draw(evaluation(3, 60).head)
assert "matplotlib.pyplot" not in sys.modules
"""
    root = plots.__file__.rsplit("/simsearch/", 1)[0]
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=root)
