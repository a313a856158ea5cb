"""Labels a folder of pictures, or a list of them, with masks of words, on one machine or many, by Ray Data:

python label_ray.py pictures/ "person, dog, grass" out/ --workers 8
python label_ray.py list.txt "person, dog, grass" out/ --workers 0     # without Ray, in this process

The pictures are split into shards by their sorted names, so that every run has the same ones. A worker writes a shard's file whole and
under its final name at once; a shard whose file is there is done. So each picture is in the outcome once, whatever workers die
meanwhile, and a run that was cut off goes on where it was when it is started again. At the end the shards are joined to `out/coco.json`,
the same bytes however many workers there were. `out` must be a folder that all machines share.
"""

import argparse
import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import edge_seg

ENDINGS = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


class Labeller:
    """Labels shards, one after the other. Ray makes one for each worker; the model is loaded once."""

    def __init__(self, words: str, out: str, bundle: str | None, threads: int | None) -> None:
        self.model = edge_seg.Model(bundle, threads=threads)
        self.words = self.model.words(words)
        self.out = Path(out)

    def picture(self, path: str, name: str) -> dict[str, Any]:
        try:
            found = self.model.segment(path, self.words)
        except (edge_seg.ImageError, OSError) as error:
            return {"file_name": name, "error": str(error)}
        height, width = found.labels.shape
        present = [one for one in found.classes if one.area]
        annotations = [
            {"category_id": one.label, "bbox": one.box, "area": one.area, "score": round(one.score, 4), "segmentation": one.rle(), "iscrowd": 0}
            for one in present
        ]
        return {"file_name": name, "width": width, "height": height, "annotations": annotations}

    def shard(self, number: int, paths: list[list[str]]) -> int:
        """Writes a shard's file, unless it is there."""
        done = shard_file(self.out, number)
        if not done.exists():
            lines = [json.dumps(self.picture(path, name)) + "\n" for path, name in paths]
            begun = done.with_suffix(f".{os.uname().nodename}-{os.getpid()}")
            begun.write_text("".join(lines))
            with begun.open() as file:
                os.fsync(file.fileno())
            begun.rename(done)
        return number

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        return {"shard": self.shard(row["shard"], json.loads(row["paths"]))}


def shard_file(out: Path, number: int) -> Path:
    return out / "shards" / f"{number:06}.jsonl"


def pictures(source: Path) -> list[list[str]]:
    """Each picture's path and the name that it has in the outcome, sorted."""
    if source.is_dir():
        found = [path for path in source.rglob("*") if path.suffix.lower() in ENDINGS and path.is_file()]
        return sorted([str(path.absolute()), str(path.relative_to(source))] for path in found)
    lines = source.read_text().splitlines()
    return sorted([str((source.parent / line).absolute()), line] for line in {line.strip() for line in lines} if line)


def join(out: Path, shards: int, names: list[str]) -> None:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    skipped: list[dict[str, Any]] = []
    for number in range(shards):
        for line in shard_file(out, number).read_text().splitlines():
            told = json.loads(line)
            if "error" in told:
                skipped.append(told)
                continue
            found = told.pop("annotations")
            images.append({"id": len(images) + 1, **told})
            annotations.extend({"id": len(annotations) + 1 + i, "image_id": len(images), **one} for i, one in enumerate(found))
    categories = [{"id": label, "name": name} for label, name in enumerate(names, 1)]
    whole = {"images": images, "categories": categories, "annotations": annotations}
    begun = out / "coco.json.part"
    begun.write_text(json.dumps(whole))
    begun.rename(out / "coco.json")
    for one in skipped:
        print(f"{one['file_name']}: {one['error']}", file=sys.stderr)
    print(f"{len(images)} pictures, {len(annotations)} masks, {len(skipped)} that cannot be read: {out / 'coco.json'}")


def same_job(out: Path, job: dict[str, Any]) -> None:
    """Shards of another job must not be taken for this one's."""
    noted, now = out / "job.json", json.dumps(job, sort_keys=True)
    if noted.exists() and noted.read_text() != now:
        sys.exit(f"{noted}: expected this job, found another one's shards; take another folder, or delete this one")
    noted.write_text(now)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="a folder of pictures, or a file with a path a line")
    parser.add_argument("words", help="words, separated by commas")
    parser.add_argument("out", type=Path)
    parser.add_argument("--bundle", help="a bundle's path, on all machines")
    parser.add_argument("--workers", type=int, default=2, help="Ray's actors; 0 works without Ray")
    parser.add_argument("--threads", type=int, default=None, help="threads of a worker")
    parser.add_argument("--shard", type=int, default=64, metavar="N", help="pictures of a shard")
    args = parser.parse_args()

    listed = pictures(args.source)
    if not listed or args.shard < 1:
        sys.exit(f"{args.source}: expected pictures, and one or more a shard; found {len(listed)} and {args.shard}")
    parts = [listed[at : at + args.shard] for at in range(0, len(listed), args.shard)]
    (args.out / "shards").mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(json.dumps(listed).encode()).hexdigest()
    same_job(args.out, {"pictures": digest, "words": args.words, "bundle": args.bundle, "shard": args.shard})

    labeller = (args.words, str(args.out.absolute()), args.bundle, args.threads)
    rows = [{"shard": number, "paths": json.dumps(part)} for number, part in enumerate(parts) if not shard_file(args.out, number).exists()]
    if args.workers == 0:
        alone = Labeller(*labeller)
        for row in rows:
            alone(row)
    elif rows:
        import ray.data

        # Workers that die are started again, and what they had begun is done once more.
        ray.data.DataContext.get_current().max_errored_blocks = 0
        shards = ray.data.from_items(rows, override_num_blocks=len(rows))
        threads = args.threads or 1
        done = shards.map(Labeller, fn_constructor_args=labeller, concurrency=args.workers, num_cpus=threads, max_restarts=-1, max_task_retries=-1)
        for _ in done.iter_rows():
            pass
    join(args.out, len(parts), edge_seg.Model(args.bundle).words(args.words).names)


if __name__ == "__main__":
    main()
