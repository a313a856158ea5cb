"""Labels, tags or embeds pictures on one machine or many, by Ray Data:

python label_ray.py pictures/ out/ --words "person, dog, grass" --workers 8
python label_ray.py list.txt out/ --words "person, dog, grass" --do tags
python label_ray.py 'shards/train-*.tar' out/ --do embed        # webdataset shards, read from end to end
python label_ray.py 'pictures/**/*.jpg' out/ --words "person"    # a glob; ** is any folders
python label_ray.py pictures/ out/ --words "person" --workers 0  # without Ray, in this process

Pictures are split into shards by their sorted names, so that every run has the same ones; a tar is a shard. A worker writes a shard's
file whole and under its final name at once; a shard whose file is there is done. So each picture is in the outcome once, whatever workers
die meanwhile, and a run that was cut off goes on where it was when it is started again. Pictures that could not be read are tried again
then, and these alone. At the end the shards are joined to one file, the same bytes however many workers there were:

label   coco.json: connected regions of what each picture shows, as `edge-seg-export label` cuts them
tags    tags.jsonl: the words that each picture shows, best first
embed   embeddings.npy, float32 [pictures, dim] of unit norm, and pictures.jsonl: the pictures' names in the order of its rows

A list is text in UTF-8 or UTF-16, a path a line, relative ones from the list's folder; a path that is there twice counts once. `out` must
be a folder that all machines share. Exit status 2 if a picture could not be read; the others are there.
"""

import argparse
import base64
import glob
import hashlib
import json
import os
import sys
import tarfile
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from tarfile import HeaderError, ReadError
from typing import IO, Any

import numpy as np

import edge_seg

ENDINGS = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
TARS = (".tar", ".tar.bz2", ".tar.gz", ".tar.xz", ".tgz")
# How shards are written: those of another way are not gone on with.
FORM = 2
# What is one picture's fault alone.
UNREADABLE = (edge_seg.ImageError, OSError)


class Member(tarfile.TarInfo):
    """A tar's member, where a tar that ends without saying so is an error: tarfile itself takes that for the end."""

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> "Member":
        try:
            return super().fromtarfile(tarfile)
        except HeaderError as error:
            # Empty blocks, which close a tar.
            if str(error) == "end of file header":
                raise
            raise ReadError(f"{error}; it is cut off, or damaged") from error


def samples(tar: str) -> Iterator[tuple[str, bytes]]:
    """The pictures of a tar, by their names, without seeking: it may be larger than memory, and lie behind a network."""
    with tarfile.open(tar, "r|*", tarinfo=Member) as members:
        for member in members:
            if member.isfile() and is_picture(member.name):
                content = members.extractfile(member)
                assert content is not None, "a file has content"
                yield member.name, content.read()


def is_picture(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in ENDINGS and not os.path.basename(name).startswith(".")


def is_tar(name: str) -> bool:
    return name.lower().endswith(TARS) and not os.path.basename(name).startswith(".")


def shown(name: str) -> str:
    """A name as text: the bytes of a file's name may be none."""
    return os.fsencode(name).decode(errors="replace")


class Worker:
    """Does shards, one after the other. Ray makes one of each; the model is loaded once."""

    def __init__(self, task: str, words: str, out: str, bundle: str | None, threads: int | None) -> None:
        self.model = edge_seg.Model(bundle, threads=threads)
        self.words = None if task == "embed" else self.model.words(words)
        self.task, self.out = task, Path(out)

    def line(self, name: str, image: Any) -> str:
        """What a shard's file says of a picture."""
        if self.words is None:
            row = np.asarray(self.model.encode(image).embedding, "<f4")
            return json.dumps({"file": name, "embedding": base64.b64encode(row.tobytes()).decode()})
        if self.task == "label":
            return self.model.label(image, self.words, file=name).to_json()
        return json.dumps({"file": name, "tags": [[word, round(score, 4)] for word, score in self.model.tags(image, self.words)]})

    def pictures(self, shard: list[list[str]] | str) -> Iterator[tuple[str, Any]]:
        """The shard's pictures: names, and what reads them."""
        if isinstance(shard, str):
            for name, data in samples(shard):
                yield shown(name), lambda data=data: edge_seg.read_picture(data)
        else:
            for path, name in shard:
                yield shown(name), lambda path=path: path

    def lines(self, shard: list[list[str]] | str, before: list[dict[str, Any]]) -> Iterator[str]:
        try:
            for at, (name, image) in enumerate(self.pictures(shard)):
                done = before[at] if at < len(before) else {"error": "not tried yet"}
                yield json.dumps(done) if done.get("file") == name and "error" not in done else self.tried(name, image)
        except (tarfile.TarError, OSError, EOFError) as error:
            yield json.dumps({"file": shown(str(shard)), "error": f"the tar ends here: {error}"})

    def tried(self, name: str, image: Any) -> str:
        try:
            return self.line(name, image())
        except UNREADABLE as error:
            return json.dumps({"file": name, "error": str(error)})

    def shard(self, number: int, shard: list[list[str]] | str) -> None:
        """Writes a shard's file, unless it is there and whole."""
        before = read_shard(self.out, number)
        if is_done(before):
            return
        text = "".join(line + "\n" for line in self.lines(shard, before or []))
        put(shard_file(self.out, number), lambda file: file.write(text.encode()))

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        self.shard(row["shard"], json.loads(row["pictures"]))
        return {"shard": row["shard"]}


def put(path: Path, write: Any) -> None:
    """Writes a file whole, under its name at once. A worker that dies leaves a `.part`, and another one's has another name."""
    begun = path.with_name(f"{path.name}.{os.uname().nodename}-{os.getpid()}.part")
    with begun.open("wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    begun.rename(path)


def shard_file(out: Path, number: int) -> Path:
    return out / "shards" / f"{number:06}.jsonl"


def read_shard(out: Path, number: int) -> list[dict[str, Any]] | None:
    """What a shard's file says; None if it is not there, or damaged."""
    try:
        return [json.loads(line) for line in shard_file(out, number).read_bytes().splitlines()]
    except (FileNotFoundError, ValueError):
        return None


def is_done(shard: list[dict[str, Any]] | None) -> bool:
    """Whether nothing of a shard is to be tried (again)."""
    return shard is not None and not any("error" in one for one in shard)


def read_list(path: Path) -> list[str]:
    data = path.read_bytes()
    try:
        text = data.decode("utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig")
    except UnicodeDecodeError as error:
        sys.exit(f"{path}: expected a list of paths in UTF-8 or UTF-16, a picture, or a tar; found byte {error.start} that is no text")
    # Not splitlines(): names may hold what that takes for a line's end.
    lines = (line.strip(" \t") for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"))
    return [line for line in lines if line]


def files(folder: Path) -> Iterator[str]:
    """All below a folder. One that cannot be read is an error: its pictures would be missing without a word."""

    def refuse(error: OSError) -> None:
        raise error

    for place, _, names in os.walk(folder, onerror=refuse):
        yield from (os.path.relpath(os.path.join(place, name), folder) for name in names)


def found(source: str) -> list[tuple[str, str]]:
    """Paths of pictures and tars, and the names that they have in the outcome."""
    path = Path(source)
    if path.is_dir():
        return [(os.path.join(path, name), name) for name in files(path) if is_picture(name) or is_tar(name)]
    if not path.exists():
        return [(name, name) for name in glob.glob(source, recursive=True) if (is_picture(name) or is_tar(name)) and os.path.isfile(name)]
    if is_picture(source) or is_tar(source) or tarfile.is_tarfile(path):
        return [(source, source)]
    return [(os.path.join(path.parent, line), line) for line in read_list(path)]


def shards(source: str, size: int) -> list[list[list[str]] | str]:
    """The shards of a folder, a list, tars: each picture's path and the name that it has in the outcome, or a tar's path."""
    # One name a path, the shortest, however often and in whatever order they came.
    listed = sorted(found(source), key=lambda one: (len(one[1]), one), reverse=True)
    names = {str(Path(path).absolute()): name for path, name in listed}
    # A tar without such an ending is one that was named alone.
    tars = sorted(path for path, name in names.items() if is_tar(name) or (name == source and not is_picture(name)))
    if not tars:
        pictures = sorted(([path, name] for path, name in names.items()), key=lambda one: one[1])
        return [pictures[at : at + size] for at in range(0, len(pictures), size)]
    if len(tars) < len(names):
        both = f"{len(names) - len(tars)} and {len(tars)}"
        sys.exit(f"{source}: expected pictures or tars, found both, {both}; name those that you mean by a glob, such as 'FOLDER/**/*.tar'")
    return list(tars)


def told(out: Path, count: int) -> Iterator[dict[str, Any]]:
    """What the shards say, picture by picture."""
    for number in range(count):
        with shard_file(out, number).open("rb") as lines:
            yield from map(json.loads, lines)


def join_labels(out: Path, count: int, names: list[str]) -> str:
    """`coco.json`, written as it is read: there may be more pictures than memory holds."""
    number = {name: at for at, name in enumerate(names, 1)}

    def images() -> Iterator[dict[str, Any]]:
        good = (one for one in told(out, count) if "error" not in one)
        for at, one in enumerate(good, 1):
            yield {"id": at, "file_name": one["file"], "width": one["width"], "height": one["height"]}

    def annotations() -> Iterator[dict[str, Any]]:
        regions = 0
        good = (one for one in told(out, count) if "error" not in one)
        for at, one in enumerate(good, 1):
            for region in one["regions"]:
                regions += 1
                mask = {"size": [one["height"], one["width"]], "counts": region["counts"]}
                yield {
                    "id": regions, "image_id": at, "category_id": number[region["class"]], "segmentation": mask,
                    "area": region["area_px"], "bbox": region["bounds_px"], "iscrowd": 0, "score": region["score"],
                }

    def write(file: IO[bytes]) -> None:
        file.write(b'{"images":[')
        listed(file, images())
        file.write(b'],"annotations":[')
        listed(file, annotations())
        file.write(b'],"categories":[')
        listed(file, ({"id": at, "name": name} for name, at in number.items()))
        file.write(b"]}\n")

    put(out / "coco.json", write)
    return "coco.json"


def listed(file: IO[bytes], items: Iterable[dict[str, Any]]) -> None:
    for at, item in enumerate(items):
        file.write((",\n" if at else "\n").encode() + json.dumps(item, separators=(",", ":")).encode())


def join_lines(out: Path, count: int, name: str, keys: tuple[str, ...]) -> str:
    def write(file: IO[bytes]) -> None:
        for one in told(out, count):
            if "error" not in one:
                file.write(json.dumps({key: one[key] for key in keys}).encode() + b"\n")

    put(out / name, write)
    return name


def join_embeddings(out: Path, count: int, dim: int) -> str:
    shape = (sum("error" not in one for one in told(out, count)), dim)

    def write(file: IO[bytes]) -> None:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
        for one in told(out, count):
            if "error" not in one:
                file.write(base64.b64decode(one["embedding"]))

    put(out / "embeddings.npy", write)
    join_lines(out, count, "pictures.jsonl", ("file",))
    return "embeddings.npy"


def same_job(out: Path, job: dict[str, Any]) -> None:
    """Shards of another job must not be taken for this one's."""
    noted, now = out / "job.json", json.dumps(job, sort_keys=True)
    if noted.exists() and noted.read_text() != now:
        sys.exit(f"{noted}: expected this job, found another one's shards; take another folder, or delete this one")
    put(noted, lambda file: file.write(now.encode()))


def by_ray(rows: list[dict[str, Any]], worker: tuple[Any, ...], workers: int, threads: int) -> None:
    try:
        ray: Any = import_module("ray")
        data: Any = import_module("ray.data")
    except ModuleNotFoundError as error:
        sys.exit(f"--workers {workers}: expected Ray Data, found none ({error}); try: pip install 'ray[data]', or --workers 0")
    # A cluster that is there has its own dashboard; one that is started for this run needs none.
    ray.init(ignore_reinit_error=True, include_dashboard=False)
    there = ray.cluster_resources().get("CPU", 0)
    if there < workers * threads:
        print(f"expected {workers * threads} processors, found {there:.0f}: fewer workers, or wait for the cluster to grow", file=sys.stderr)
    # A block is what Ray hands out and, after a worker's death, hands out again: shards of it that are done are not done once more.
    pending = data.from_items(rows, override_num_blocks=min(len(rows), 16 * workers))
    done = pending.map(Worker, compute=data.ActorPoolStrategy(size=workers), fn_constructor_args=worker, num_cpus=threads)
    for _ in done.iter_rows():
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="a folder of pictures, a file with a path a line, or webdataset shards: a tar, a folder of tars, a glob")
    parser.add_argument("out", type=Path)
    parser.add_argument("--do", choices=["label", "tags", "embed"], default="label")
    parser.add_argument("--words", default="", help="words, separated by commas")
    parser.add_argument("--bundle", help="a bundle's path, on all machines")
    parser.add_argument("--workers", type=int, default=2, help="Ray's actors; 0 works without Ray")
    parser.add_argument("--threads", type=int, default=None, help="threads of a worker: 1 with Ray, as many as the processor has without")
    parser.add_argument("--shard", type=int, default=64, metavar="N", help="pictures of a shard, where tars do not say it")
    args = parser.parse_args()

    if args.shard < 1 or args.workers < 0 or (args.threads or 1) < 1:
        parser.error(f"--shard, --workers, --threads: expected 1 or more (0 workers are none), found {args.shard}, {args.workers}, {args.threads}")
    try:
        parts = shards(args.source, args.shard)
    except OSError as error:
        sys.exit(str(error))
    if not parts:
        sys.exit(f"{args.source}: expected pictures or tars, found none")
    # Before anything is written: what is wrong with the words or the bundle is told at once.
    try:
        model = edge_seg.Model(args.bundle)
        names = [] if args.do == "embed" else model.words(args.words).names
    except (edge_seg.EdgeSegError, OSError) as error:
        sys.exit(str(error))
    (args.out / "shards").mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    bundle = hashlib.sha256(Path(args.bundle).read_bytes()).hexdigest() if args.bundle else edge_seg.__version__
    same_job(args.out, {"form": FORM, "do": args.do, "pictures": digest, "words": args.words, "bundle": bundle, "shard": args.shard})

    threads = args.threads or (1 if args.workers else None)
    worker = (args.do, args.words, str(args.out.absolute()), args.bundle, threads)
    due = [number for number in range(len(parts)) if not is_done(read_shard(args.out, number))]
    rows = [{"shard": number, "pictures": json.dumps(parts[number])} for number in due]
    if args.workers and rows:
        by_ray(rows, worker, args.workers, threads or 1)
    elif rows:
        alone = Worker(*worker)
        for row in rows:
            alone(row)
    for begun in (args.out / "shards").glob("*.part"):
        begun.unlink()
    if args.do == "label":
        written = join_labels(args.out, len(parts), names)
    elif args.do == "tags":
        written = join_lines(args.out, len(parts), "tags.jsonl", ("file", "tags"))
    else:
        written = join_embeddings(args.out, len(parts), model.dim)
    count, skipped = 0, 0
    for one in told(args.out, len(parts)):
        count += "error" not in one
        if "error" in one:
            skipped += 1
            print(f"{one['file']}: {one['error']}", file=sys.stderr)
    print(f"{count} pictures, {skipped} that cannot be read: {args.out / written}")
    sys.exit(2 if skipped else 0)


if __name__ == "__main__":
    main()
