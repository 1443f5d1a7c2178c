"""Whether torch's L-BFGS fits a head sooner than scikit-learn's, at the same penalised loss, on the processor.

    python tests/benchmarks/head_solver.py --art ../shared/art [--out docs/benchmarks/head_solver.json]

Planted data (works x numbers, classes), one penalty, rounds in turn. Both minimise the same function: the sum of cross
entropies times C plus half the squared weights. It needs torch beside simsearch; without it only scikit-learn is timed.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from bench import arguments, finish

from simsearch.classifier.fit import fit

PENALTY = 0.01
SIZES = {"16 styles": (18_000, 384, 16), "234 artists": (13_000, 384, 234), "1,000 artists": (30_000, 384, 1_000)}
SMOKE = {"16 styles": (400, 16, 16)}


def main(argv: Sequence[str] | None = None) -> int:
    """Times both on each size."""
    args = arguments(__doc__, argv, rounds=3)
    sizes = {}
    for name, size in (SMOKE if args.smoke else SIZES).items():
        sizes[name] = compared(*size, rounds=1 if args.smoke else args.rounds)
        print(name, sizes[name], flush=True)
    finish("head_solver", {"C": PENALTY, "sizes": sizes}, args)
    return 0


def compared(works: int, dim: int, classes: int, rounds: int) -> dict[str, Any]:
    """Seconds of each fit, round by round in turn, their medians, and the loss that each came down to."""
    rows, codes = planted(works, dim, classes)
    fits = {"scikit-learn": by_sklearn, "torch": by_torch} if has_torch() else {"scikit-learn": by_sklearn}
    seconds: dict[str, list[float]] = {solver: [] for solver in fits}
    losses: dict[str, float] = {}
    for _ in range(rounds):
        for solver, solve in fits.items():
            started = time.perf_counter()
            weights, bias = solve(rows, codes, classes)
            seconds[solver].append(round(time.perf_counter() - started, 3))
            losses[solver] = round(loss(rows, codes, weights, bias), 3)
    medians = {solver: statistics.median(times) for solver, times in seconds.items()}
    return {"works": works, "numbers": dim, "classes": classes, "seconds": seconds, "median": medians, "loss": losses}


def planted(works: int, dim: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Standardised rows whose classes overlap, float32, and their codes."""
    draw = np.random.default_rng(0)
    codes = draw.integers(classes, size=works)
    codes[:classes] = np.arange(classes)
    rows = draw.normal(size=(classes, dim))[codes] * 0.25 + draw.normal(size=(works, dim))
    return ((rows - rows.mean(axis=0)) / rows.std(axis=0)).astype(np.float32), codes


def by_sklearn(rows: np.ndarray, codes: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """The fit that `simsearch train` makes, on one thread."""
    return fit(rows, codes, classes, C=PENALTY)


def by_torch(rows: np.ndarray, codes: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """The same by torch's L-BFGS with a strong-Wolfe line search, on as many threads as it likes."""
    import torch

    x, y = torch.from_numpy(rows), torch.from_numpy(codes)
    weights = torch.zeros(classes, rows.shape[1], requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    solver = torch.optim.LBFGS(
        [weights, bias], max_iter=300, history_size=10, tolerance_grad=1e-5, tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure() -> Any:
        solver.zero_grad()
        fitted = torch.nn.functional.cross_entropy(x @ weights.T + bias, y, reduction="mean")
        value = fitted + 0.5 * (weights**2).sum() / (PENALTY * len(x))
        value.backward()
        return value

    solver.step(closure)
    return weights.detach().numpy(), bias.detach().numpy()


def loss(rows: np.ndarray, codes: np.ndarray, weights: np.ndarray, bias: np.ndarray) -> float:
    """The function that both minimise."""
    logits = rows.astype(np.float64) @ weights.T.astype(np.float64) + bias
    top = logits.max(axis=1)
    spread = top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
    return float(PENALTY * (spread - logits[np.arange(len(codes)), codes]).sum() + 0.5 * (weights**2).sum())


def has_torch() -> bool:
    """Whether torch can be imported."""
    try:
        import torch  # noqa: F401
    except ImportError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
