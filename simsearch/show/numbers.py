"""Measured figures as people read them."""

from __future__ import annotations

import math

from simsearch.records import Estimate

UNKNOWN = "-"


def decimals(value: float, *, signed: bool = False) -> str:
    """Three decimals without a leading zero, as in ``.620`` and ``1.000``; a dash for NaN."""
    if not math.isfinite(value):
        return UNKNOWN
    value = round(value, 3) + 0.0  # so that nothing is shown as -.000
    sign = "-" if value < 0 else "+" if signed else ""
    text = f"{abs(value):.3f}"
    return sign + (text[1:] if text.startswith("0") else text)


def estimate(figure: Estimate) -> str:
    """The figure with its interval, as in ``.620 [.606-.634]``."""
    if not math.isfinite(figure.value):
        return UNKNOWN
    return f"{decimals(figure.value)} [{decimals(figure.low)}-{decimals(figure.high)}]"


def difference(figure: Estimate) -> str:
    """A difference with its interval, all signed, as in ``+.021 [-.004 to +.046]``."""
    if not math.isfinite(figure.value):
        return UNKNOWN
    low, high = decimals(figure.low, signed=True), decimals(figure.high, signed=True)
    return f"{decimals(figure.value, signed=True)} [{low} to {high}]"


def per_cent(share: float) -> str:
    """A share of 0 to 1 in per cent with one decimal, as in ``62.0 %``; a dash for NaN."""
    return f"{100 * share:z.1f} %" if math.isfinite(share) else UNKNOWN


def points(difference: float) -> str:
    """A difference of two shares in percentage points, as in ``7.9 points``."""
    text = f"{abs(100 * difference):.1f}"
    return f"{text} point" if text == "1.0" else f"{text} points"


def counted(number: int, one: str, many: str = "") -> str:
    """A number and what it counts, as in ``1 work`` and ``4,410 works``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def p_value(p: float) -> str:
    """A probability of a test with three decimals; a smaller one as ``< .001``."""
    if not math.isfinite(p):
        return UNKNOWN
    return "< .001" if p < 0.001 else decimals(p)
