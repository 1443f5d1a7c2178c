"""What the benchmark scripts share: arguments, the machine's facts, whole-process timings, and the result file."""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from simsearch.encoders.base import usable_cores

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs" / "benchmarks"


def arguments(doc: str | None, argv: Sequence[str] | None, **more: Any) -> argparse.Namespace:
    """--art FOLDER with the pictures, --smoke for a run of seconds, --out FILE for raw results; `more` by default."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--art", type=Path, required=True, help="folder that holds wikiart/, large/, pairs/")
    parser.add_argument("--smoke", action="store_true", help="a handful of images, to see that the script runs")
    parser.add_argument("--out", type=Path, help="where the raw results go, as JSON")
    for name, default in more.items():
        parser.add_argument(f"--{name}", type=type(default), default=default)
    return parser.parse_args(argv)


def machine() -> dict[str, Any]:
    """Processor, cores that may be used, Python."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = lines[0].partition(":")[2].strip() if lines else model
    return {
        "processor": model,
        "cores": usable_cores(),
        "python": platform.python_version(),
        "system": platform.system(),
    }


def process(command: Sequence[str], cwd: Path | None = None) -> float:
    """Seconds that a whole process takes; 0 and 3 (some files failed) are the exit statuses that count."""
    started = time.perf_counter()
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    if done.returncode not in (0, 3):
        raise SystemExit(f"{' '.join(map(str, command))} ended with {done.returncode}: {done.stderr.decode()[-500:]}")
    return time.perf_counter() - started


PEAK = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 if status in (0, 3) else -1)
"""


def peak_memory(command: Sequence[str]) -> int:
    """Peak memory of a whole process in bytes.

    Asked of a small process in between: a child's figure starts from the memory of the process that it was forked from.
    """
    done = subprocess.run([sys.executable, "-c", PEAK, *command], capture_output=True, text=True, check=True)
    if int(done.stdout) < 0:
        raise SystemExit(f"{' '.join(map(str, command))} failed")
    return int(done.stdout)


def interleaved(rounds: int, cases: dict[str, Callable[[], float]], warm_up: int = 1) -> dict[str, list[float]]:
    """Seconds of each case, round by round in turn, so that a slow moment of the machine falls on all of them."""
    out: dict[str, list[float]] = {name: [] for name in cases}
    for turn in range(rounds + warm_up):
        for name, run in cases.items():
            seconds = run()
            if turn >= warm_up:
                out[name].append(round(seconds, 5))
    return out


def timed(run: Callable[[], Any]) -> float:
    """Seconds that a call takes."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def ratio(a: Sequence[float], b: Sequence[float]) -> float:
    """Median of a / b, round by round."""
    return round(statistics.median(x / y for x, y in zip(a, b, strict=True)), 3)


def finish(name: str, result: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """Prints the result, and writes it where it was asked for; a smoke run writes nothing by itself."""
    whole = {"benchmark": name, "machine": machine(), **result}
    text = json.dumps(whole, indent=2)
    print(text)
    out = args.out or (None if args.smoke else RESULTS / f"{name}.json")
    if out:
        out.write_text(text + "\n", encoding="utf-8")
    return whole


SIMSEARCH = [str(Path(sys.executable).with_name("simsearch"))]
