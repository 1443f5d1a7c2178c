"""`simsearch.show.curves`: what is drawn is what the log says."""

import io
import math
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from simsearch.show import curves

TERMS = ("style", "artist", "instance")


def log(phases=(2, 3), per_epoch=40, kinds=("style", "genre"), terms=TERMS):
    """The log of a run with so many epochs in each phase."""
    random = np.random.default_rng(0)
    lines = []
    for phase, epochs in enumerate(phases, 1):
        for step in range(0, epochs * per_epoch, 4):
            losses = {term: float(random.uniform(1, 2)) for term in terms}
            lines.append({"phase": phase, "epoch": step / per_epoch, "step": step, "lr": 1e-4 / (step + 1),
                          "loss": sum(losses.values()), "losses": losses, "images_per_s": 9.0})  # fmt: skip
        for epoch in range(1, epochs + 1):
            found = {f"{kind}_{name}": float(random.uniform(0, 1)) for kind in kinds for name in curves.FIGURES}
            lines.append({"phase": phase, "epoch": epoch, "held_out": found | {"style_majority": 0.1}})
    return lines


def picture(png):
    with Image.open(io.BytesIO(png)) as image:
        image.load()
        return image


def lines_of(axes):
    """Label to (x, y) of the lines that have one."""
    return {line.get_label(): line.get_data() for line in axes.lines if not line.get_label().startswith("_")}


# -- losses ------------------------------------------------------------------------------------------------------------


def test_losses_are_drawn_over_the_epochs_of_all_phases():
    lines = log()
    whole, terms, rate = curves.losses_figure(lines, "art").axes
    steps = [line for line in lines if "loss" in line]
    x = [line["epoch"] + (2 if line["phase"] == 2 else 0) for line in steps]
    raw = whole.lines[0]
    assert raw.get_xdata() == pytest.approx(x)
    assert raw.get_ydata() == pytest.approx([line["loss"] for line in steps])
    assert lines_of(whole)["loss, running mean"][1] == pytest.approx(curves.running_mean(raw.get_ydata()))
    assert list(lines_of(terms)) == list(TERMS)
    for term, (_, y) in lines_of(terms).items():
        assert y == pytest.approx(curves.running_mean(np.array([line["losses"][term] for line in steps])))
    assert rate.lines[0].get_ydata() == pytest.approx([line["lr"] for line in steps])
    assert whole.get_xlim() == rate.get_xlim() == (0, 5)
    assert whole.get_title(loc="left") == "art"


def test_phases_are_marked_where_there_are_several():
    axes = curves.losses_figure(log(), "art").axes[0]
    assert [text.get_text() for text in axes.texts] == ["phase 1", "phase 2"]
    assert [text.xy[0] for text in axes.texts] == [0, 2]
    assert not curves.losses_figure(log(phases=(2,)), "art").axes[0].texts


def test_one_term_is_the_loss_and_has_no_panel_of_its_own():
    assert len(curves.losses_figure(log(terms=("style",)), "art").axes) == 2
    assert len(curves.losses_figure(log(terms=TERMS), "art").axes) == 3


def test_many_terms_stay_apart():
    terms = [f"term {i}" for i in range(12)]
    drawn = curves.losses_figure(log(terms=terms), "art").axes[1].lines[:12]
    assert len({(line.get_color(), line.get_linestyle()) for line in drawn}) == 12


def test_a_term_that_begins_later_leaves_a_gap():
    lines = log()
    for line in lines[:5]:
        line["losses"].pop("artist")
    y = lines_of(curves.losses_figure(lines, "art").axes[1])["artist"][1]
    assert np.isnan(y[0])
    assert np.isfinite(y[8:]).all()


def test_the_running_mean_by_hand():
    assert curves.running_mean(np.arange(10.0)).tolist() == list(range(10))
    values = np.random.default_rng(0).normal(size=100)
    smooth = curves.running_mean(values)
    assert smooth[0] == pytest.approx(values[0])
    assert smooth[1] == pytest.approx(values[:3].mean())
    assert smooth[50] == pytest.approx(values[48:53].mean())
    assert smooth[-1] == pytest.approx(values[-1])
    values[50] = math.nan
    assert curves.running_mean(values)[50] == pytest.approx(np.delete(values[48:53], 2).mean())


# -- held out ----------------------------------------------------------------------------------------------------------


def test_each_kind_has_a_panel_with_its_figures():
    lines = log()
    style, genre = curves.held_out_figure(lines, "art").axes
    measured = [line for line in lines if "held_out" in line]
    assert list(lines_of(style)) == ["accuracy", "macro F1", "P@10", "P@10, other artists"]
    for kind, axes in (("style", style), ("genre", genre)):
        assert axes.get_ylabel() == f"{kind}, held out"
        for (_, (x, y)), name in zip(lines_of(axes).items(), curves.FIGURES, strict=True):
            assert x.tolist() == [1, 2, 3, 4, 5]
            assert y == pytest.approx([line["held_out"][f"{kind}_{name}"] for line in measured])


def test_figures_that_were_not_measured_are_left_out():
    lines = log(kinds=("style",))
    for line in lines:
        line.get("held_out", {}).pop("style_p10_other", None)
    (axes,) = curves.held_out_figure(lines, "art").axes
    assert list(lines_of(axes)) == ["accuracy", "macro F1", "P@10"]


# -- pictures ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("plot", [curves.losses_plot, curves.held_out_plot])
def test_a_picture_is_not_blank_and_the_same_log_gives_the_same_bytes(plot):
    png = plot(log(), "art")
    image = np.asarray(picture(png).convert("L"))
    assert image.shape[0] > 500
    assert (image < 160).mean() > 0.005
    assert plot(log(), "art") == png
    assert b"matplotlib" not in png


@pytest.mark.parametrize("plot", [curves.losses_plot, curves.held_out_plot])
def test_names_from_anywhere_do_no_harm(plot):
    width = picture(plot(log(phases=(1,)), "art")).width
    for name in ("$\\frac{1}$ _^{", "_Ukiyo-e 浮世絵 \x1b[31m", "x" * 300):
        assert picture(plot(log(kinds=(name,), terms=(name, "b"), phases=(1,)), name)).width == width


def test_a_run_that_has_just_begun_can_be_drawn():
    first = log()[:1]
    assert curves.has_steps(first)
    assert not curves.has_held_out(first)
    assert picture(curves.losses_plot(first, "art")).height > 100
    with pytest.raises(ValueError, match="no figures of held-out works"):
        curves.held_out_plot(first, "art")
    measured = [{"phase": 1, "epoch": 1, "held_out": {}}]
    assert not curves.has_steps(measured)
    assert not curves.has_held_out(measured)
    with pytest.raises(ValueError, match="no step"):
        curves.losses_plot(measured, "art")


def test_matplotlib_is_imported_when_something_is_drawn():
    code = "import sys, simsearch.show.curves; print('matplotlib' in sys.modules, 'torch' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.split() == ["False", "False"]
