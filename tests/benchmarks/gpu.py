"""A GPU: images a second from JPEG files to a collection, beside the bare network; the index built and asked there.

    python tests/benchmarks/gpu.py --art ART [--images 4000] [--works 1000000] [--dim 512] [--table CSV] [--rounds 3]

ViT-B/32 and ViT-B/16 of open_clip and resnet50 of timm, with random numbers for weights: the script writes them to
checkpoints and names these, since speed does not depend on the values. For each network, in bf16: the network alone on
pixels that lie on the device (bare), the encoder from pixels in the processor's memory (forward), files decoded by the
indexer's threads (decode), and the whole pipeline from files to rows in the catalog (together). Files are those of
ART/large, or painted ones. PUBLISHED are images a second of timm's own tables, for scale: another GPU and another
precision; --table takes any of its CSV files instead. Then the inverted file: built and asked on the processor and,
where faiss has one, on the GPU, with how many of the ten nearest are the same. Without a GPU all of it runs on the
processor, and says so.
"""

from __future__ import annotations

import csv
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from bench import arguments, finish, interleaved, ratio, timed

from simsearch import vectors
from simsearch.encoders.base import usable_cores
from simsearch.encoders.registry import load_encoder
from simsearch.encoders.running import Running
from simsearch.index.ivf import IvfIndex, gpus
from simsearch.indexer.workbench import Workbench, paint, sample_of

PUBLISHED = {"ViT-B-32": 10419.24, "ViT-B-16": 2840.98, "resnet50": 5088.39}
"""Images a second, batches of 512 at 224 pixels, of vit_base_patch32_clip_224, vit_base_patch16_clip_224 and resnet50.

huggingface/pytorch-image-models, results/benchmark-infer-amp-nhwc-pt240-cu124-rtx4090.csv, at commit
7479d451a6dfd8af27f941b8e82a7402461fae80: an RTX 4090, torch 2.4, automatic mixed precision, channels last.
"""
ROWS = {"ViT-B-32": "vit_base_patch32_clip_224", "ViT-B-16": "vit_base_patch16_clip_224", "resnet50": "resnet50"}
"""Names of the same networks in timm's tables."""
TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "patch_size": 8, "head_width": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}
QUERIES = 1000


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the benchmark."""
    args = arguments(__doc__, argv, images=4000, works=1_000_000, dim=512, table="", rounds=3)
    torch = _torch()
    if args.smoke:
        args.images, args.works, args.dim, args.rounds = 8, 1000, 16, 1
    published = _published(Path(args.table)) if args.table else PUBLISHED
    cuda = torch.cuda.is_available()
    with tempfile.TemporaryDirectory() as scratch:
        result = {
            "device": torch.cuda.get_device_name() if cuda else "none: all of this ran on the processor",
            "torch": torch.__version__,
            "images": args.images,
            "networks": {
                name: _network(name, location, args, published.get(name))
                for name, location in _checkpoints(torch, Path(scratch), tiny=args.smoke).items()
            },
        }
    result["index"] = _index(args)
    finish("gpu", result, args)


def _torch() -> Any:
    """torch, as the tests have it: timm can be imported though torchvision may be made for another torch."""
    sys.path.append(str(Path(__file__).resolve().parents[1]))
    from torch_operators import torch

    return torch


def _published(table: Path) -> dict[str, float]:
    """Images a second by network, of a table that timm published."""
    with table.open(encoding="utf-8", newline="") as file:
        rows = {row["model"]: float(row["infer_samples_per_sec"]) for row in csv.DictReader(file)
                if row.get("infer_img_size") == "224"}  # fmt: skip
    return {name: rows[row] for name, row in ROWS.items() if row in rows}


# -- networks ----------------------------------------------------------------------------------------------------------


def _checkpoints(torch: Any, folder: Path, *, tiny: bool) -> dict[str, str]:
    """Location by name of networks whose random weights were written to a folder."""
    import open_clip
    import timm

    found = {}
    for name in ("tiny",) if tiny else ("ViT-B-32", "ViT-B-16"):
        torch.manual_seed(7)
        architecture = TINY if tiny else open_clip.get_model_config(name)
        place, weights = folder / f"{name}.json", folder / f"{name}.pt"
        place.write_text(json.dumps(architecture), encoding="utf-8")
        torch.save(open_clip.CLIP(**architecture).state_dict(), weights)
        found[name] = f"clip:{place}?weights={weights}"
    backbone = "test_resnet" if tiny else "resnet50"
    torch.manual_seed(7)
    torch.save(timm.create_model(backbone, pretrained=False).state_dict(), folder / f"{backbone}.pt")
    found[backbone] = f"timm:{backbone}?weights={folder / f'{backbone}.pt'}"
    return found


def _network(name: str, location: str, args: Any, published: float | None) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch:
        jobs = sample_of([args.art / "large"]) if (args.art / "large").is_dir() else paint(Path(scratch), 256)
        jobs = [jobs[i % len(jobs)] for i in range(args.images)]
        encoder = load_encoder(location, Running(precision="bf16"))
        bench = Workbench.lay_out(encoder, jobs, usable_cores())
        bench.forward(0)
        bare = _bare(encoder, bench)
        seconds = interleaved(
            args.rounds,
            {
                "bare": bare,
                "forward": bench.forward,
                "decode": lambda: bench.decode(usable_cores()),
                "write": bench.write,
                "together": lambda: bench.together(usable_cores()),
            },
            warm_up=0,
        )
    rates = {part: [round(args.images / s, 1) for s in each] for part, each in seconds.items()}
    best = [max(parts) for parts in zip(*(seconds[part] for part in ("forward", "decode", "write")), strict=True)]
    return {
        "encoder": str(encoder.info),
        "device": str(encoder.runner.device),
        "batch": encoder.batch_size,
        "images_per_s": rates,
        "together_of_bare": ratio(seconds["bare"], seconds["together"]),
        "together_of_the_longest_part": ratio(best, seconds["together"]),
        "published_images_per_s": published,
        "seconds": seconds,
    }


def _bare(encoder: Any, bench: Workbench) -> Callable[[], float]:
    """Seconds of the network alone over all images, its batch on the device all the time."""
    import torch

    runner = encoder.runner
    batch = torch.from_numpy(np.resize(bench.pixels, (encoder.batch_size, *bench.pixels.shape[1:]))).to(runner.device)

    def run() -> float:
        with torch.inference_mode(), torch.autocast(runner.device.type, torch.bfloat16):
            encoder._of_pixels(batch)
            _wait(torch, runner.device)
            started = time.perf_counter()
            batches = -(-len(bench.jobs) // encoder.batch_size)
            for _ in range(batches):
                encoder._of_pixels(batch)
            _wait(torch, runner.device)
        return (time.perf_counter() - started) * len(bench.jobs) / (batches * encoder.batch_size)

    return run


def _wait(torch: Any, device: Any) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


# -- the index ---------------------------------------------------------------------------------------------------------


def _index(args: Any) -> dict[str, Any]:
    """Seconds to build an inverted file and to ask it, on the processor and on a GPU."""
    rng = np.random.default_rng(5)
    centres = rng.standard_normal((max(1, args.works // 200), args.dim), np.float32)
    rows = centres[rng.integers(0, len(centres), args.works)]
    rows = vectors.as_stored(vectors.unit_rows(rows + 0.7 * rng.standard_normal(rows.shape, np.float32)))
    ids = np.arange(args.works, dtype=np.int64)
    queries = rows[rng.choice(args.works, min(QUERIES, args.works), replace=False)]
    found, seconds, counts = {}, {}, {}
    for where, use_gpu in (("processor", False), ("gpu", True)):
        if use_gpu and not gpus():
            continue
        index = IvfIndex(use_gpu=use_gpu)
        built = round(timed(lambda at=index: at.build(rows, ids)), 3)
        index.search(queries[:1], 10)
        asked = [round(timed(lambda at=index: at.search(queries, 10)), 4) for _ in range(args.rounds)]
        one = [round(timed(lambda at=index: at.search(queries[:1], 10)), 5) for _ in range(args.rounds)]
        found[where], counts = index.search(queries, 10), index.parameters()
        seconds[where] = {"build": built, "queries": asked, "one_query": one}
    result = {"works": args.works, "dim": args.dim, "queries": len(queries), **counts, "seconds": seconds}
    if "gpu" not in found:
        return result | {"gpu": "none: faiss finds no GPU here"}
    (scores, here), (scores_there, there) = found["processor"], found["gpu"]
    same = [len(set(a) & set(b)) / 10 for a, b in zip(here.tolist(), there.tolist(), strict=True)]
    shared = here == there
    return result | {
        "same_of_ten": round(float(np.mean(same)), 5),
        "largest_difference_of_scores": float(np.abs(scores - scores_there)[shared].max()),
    }


if __name__ == "__main__":
    main()
