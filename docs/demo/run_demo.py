"""`make demo`: paints a gallery, or takes a folder of yours, and runs the three commands of a day on it."""

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

from paint_gallery import paint_gallery

PAINTED = Path("demo/gallery")
QUERY = "demo/gallery/stained-glass"


def main() -> int:
    """Runs the demo; the exit status of the first command that failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, default=PAINTED, help="folder of images; the default one is painted")
    images = parser.parse_args().images.expanduser()
    if images == PAINTED:
        print(f"painting {len(paint_gallery(images))} pictures in a dozen manners into {images} ...")
    elif not images.is_dir():
        print(f"there is no folder {images}; name one with make demo IMAGES=FOLDER", file=sys.stderr)
        return 1
    place = Path("demo") / f"collection-{images.resolve().name}"
    place.mkdir(parents=True, exist_ok=True)
    sheet = Path("demo/sheet.html")
    at = ["--collection", str(place)]
    # 3: done, with some files left out; a folder of one's own may well hold a broken one
    status = run("index", str(images), *at, allowed=(0, 3))
    query = query_in(images) if status == 0 else None
    if query is None:
        return status or 1
    status = run("similar", str(query), "-k", "8", *at, "--html", str(sheet))
    if status == 0 and images == PAINTED:
        status = run("classify", str(query), *at)
    elif status == 0:
        run("info", *at)
        print("\n`simsearch classify` needs labels: put an artworks.csv beside the images (README, Labels).")
    if status == 0:
        print(f"\nOpen {sheet.resolve().as_uri()} in a browser: the query beside its nearest works.")
    return status


def query_in(images: Path) -> Path | None:
    """A picture to ask about: a stained-glass window of the painted gallery, or the first one of a folder."""
    from simsearch.indexer.scan import scan

    paths = [images / name for name in sorted(scan(images).files)]
    windows = [path for path in paths if path.as_posix().startswith(QUERY)]
    return next(iter(windows + paths), None)


def run(*arguments: str, allowed: tuple[int, ...] = (0,)) -> int:
    """Shows and runs one simsearch command; 0 where its exit status is allowed."""
    print(f"\n$ simsearch {shlex.join(arguments)}", flush=True)
    status = subprocess.run([sys.executable, "-m", "simsearch", *arguments], check=False).returncode
    return 0 if status in allowed else status


if __name__ == "__main__":
    sys.exit(main())
