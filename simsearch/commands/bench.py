"""`simsearch bench`: measures indexing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click


@click.command()
@click.argument("folders", nargs=-1, type=click.Path(readable=False, path_type=Path))
@click.option("--encoder", metavar="NAME", help="As `index` takes it.  [default: color]")
@click.option("--device", default="auto", show_default=True, metavar="NAME", help="torch: auto, cuda, mps or cpu.")
@click.option("--precision", type=click.Choice(["auto", "fp32", "bf16", "fp16"]), default="auto", show_default=True,
              help="torch: auto is fp32 on a processor and bf16 or fp16 on CUDA.")  # fmt: skip
@click.option("--batch", type=click.IntRange(min=1), metavar="N",
              help="torch: images at once.  [default: the encoder's own]")  # fmt: skip
@click.option("--threads", type=click.IntRange(min=1), help="Decoding threads.  [default: one a core]")
@click.option("--images", type=click.IntRange(min=1), metavar="N",
              help="Measure this many images.  [default: as many as take a few seconds]")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def bench(folders: tuple[Path, ...], as_json: bool, **options: Any) -> None:
    """Measures what bounds indexing on this machine, and proposes options.

    Decodes images of FOLDERS, copies them to the encoder's device, runs its network and writes the catalog: each alone,
    then all together, as `index` does. Short trials then find the precision, batch size and threads to index with.
    Without FOLDERS pictures are painted. No collection is touched. Other work on the machine spoils the figures.
    """
    from simsearch.encoders.running import Running
    from simsearch.indexer.bench import measure
    from simsearch.show.bench import show_throughput
    from simsearch.show.hits import stdout
    from simsearch.show.progress import progress
    from simsearch.show.text import json_line

    running = Running(options["device"], options["precision"], options["batch"])
    with progress(sys.stderr, unit="") as watch:
        found = measure(folders, options["encoder"], running, options["threads"], options["images"], watch)
    stdout().write(json_line(found.to_dict()) + "\n") if as_json else show_throughput(found, stdout())
