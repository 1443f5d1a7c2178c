"""Runs every benchmark script on a tiny painted gallery, to see that it still runs. Nothing is measured by it.

python tests/benchmarks/smoke.py [SCRIPT ...]
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
PAINTER = HERE.parents[1] / "docs" / "demo" / "paint_gallery.py"
TIMEOUT_S = 300


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0 where every script ran, 1 otherwise."""
    parser = argparse.ArgumentParser(description="Run every benchmark script on a tiny painted gallery.")
    parser.add_argument("scripts", nargs="*", metavar="SCRIPT", help="only these, such as rescan.py")
    wanted = parser.parse_args(argv).scripts
    scripts = [path for path in benchmarks() if not wanted or path.name in wanted]
    if not scripts:
        print(f"no benchmark among {', '.join(wanted)}; there are {', '.join(p.name for p in benchmarks())}")
        return 1
    with tempfile.TemporaryDirectory() as scratch:
        paint(Path(scratch) / "art")
        failed = [path.name for path in scripts if not runs(path, Path(scratch) / "art")]
    print(f"failed: {', '.join(failed)}" if failed else f"all {len(scripts)} ran")
    return 1 if failed else 0


def benchmarks() -> list[Path]:
    """The scripts that know ``--smoke``, by name."""
    return [path for path in sorted(HERE.glob("*.py")) if "args.smoke" in path.read_text(encoding="utf-8")
            and "def main(" in path.read_text(encoding="utf-8") and path != Path(__file__).resolve()]  # fmt: skip


def paint(art: Path) -> None:
    """The folders that the scripts look for: wikiart with small labelled pictures, large with a few large JPEGs."""
    spec = importlib.util.spec_from_file_location("paint_gallery", PAINTER)
    assert spec is not None
    assert spec.loader is not None
    painter = importlib.util.module_from_spec(spec)
    sys.modules["paint_gallery"] = painter
    spec.loader.exec_module(painter)
    painter.paint_gallery(art / "wikiart", 4, 7, 96)
    painter.paint_gallery(art / "large", 1, 7, 480)
    for path in (art / "large").rglob("*.jpg"):
        path.rename(art / "large" / path.name)


def runs(script: Path, art: Path) -> bool:
    """Whether a script ends well; what it said is shown where it does not."""
    started = time.perf_counter()
    environment = os.environ | {"PYTHONWARNINGS": "error"}
    command = [sys.executable, str(script), "--smoke", "--art", str(art)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, timeout=TIMEOUT_S, check=False, cwd=art
        )
        status, said = str(done.returncode), done.stderr
    except subprocess.TimeoutExpired:
        status, said = f"no end within {TIMEOUT_S} s", ""
    well = status == "0"
    print(
        f"{script.name}: {'ran' if well else f'failed ({status})'} in {time.perf_counter() - started:.1f} s", flush=True
    )
    if not well:
        print(said[-3000:], file=sys.stderr)
    return well


if __name__ == "__main__":
    sys.exit(main())
