"""Training data as other tools write it, read by the trainer: nothing is lost, nothing is another's, and what cannot be used is told.

usage: check_training_data.py

Needs the trainer's environment and webdataset, pandas, pyarrow and datumaro. Checked with webdataset 1.0.2, pandas 2.3.3, pyarrow 26.0.1 and
datumaro 1.13.12.
"""

import gzip
import io
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import datumaro
import numpy as np
import pandas
import webdataset
from datumaro.components.annotation import Mask
from datumaro.components.media import Image as Photo
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2] / "export" / "trainer"))

from edge_seg_trainer.sets import read_set  # noqa: E402
from edge_seg_trainer.pairs import read_pairs  # noqa: E402
from edge_seg_trainer.samples import Unusable  # noqa: E402
from edge_seg_trainer.shards import Count, expand, read_shard  # noqa: E402

CAPTIONS = [f"a small dog number {n} beside the grass" for n in range(16)]
ODD = ["a dog on grass", 'a "wet" dog', '"A dog" he said', "a\tdog", "a dog\non grass", "a dog, grass; and more"]
SIDE = (48, 64)


def jpeg(number: int, kind: str = "JPEG") -> bytes:
    held = io.BytesIO()
    Image.new("RGB", (64, 48), (9 * number % 256, 90, 200)).save(held, kind)
    return held.getvalue()


def captions(root: Path, name: str) -> list[str]:
    return [text for pair in read_pairs(root, [name]) for text in pair.captions]


def samples(root: Path, pattern: str) -> tuple[list[str], dict]:
    """Captions of the samples whose pictures can be read, and what was passed over."""
    found, count = [], Count()
    for path in expand(pattern, root):
        for raw in read_shard(path, count):
            try:
                raw.decode(32)
            except Unusable as reason:
                count.skip(str(reason))
            else:
                found += raw.captions
    return found, dict(count.reasons)


def check_shards(root: Path) -> None:
    # As img2dataset's `webdataset`: a parquet file and statistics beside, in which failed rows stand too.
    rows = []
    for shard in range(2):
        with webdataset.TarWriter(str(root / f"{shard:05d}.tar")) as out:
            for n in range(8):
                key, caption = f"{shard:05d}{n:04d}", CAPTIONS[8 * shard + n]
                row = {"url": "http://example.org/a", "key": key, "caption": caption, "status": "success", "width": 64, "exif": "{}"}
                rows.append(row | {"status": "failed_to_download"} if n == 3 else row)
                if n != 3:
                    out.write({"__key__": key, "jpg": jpeg(n), "txt": caption, "json": json.dumps(row).encode()})
        pandas.DataFrame(rows).to_parquet(root / f"{shard:05d}.parquet")
        (root / f"{shard:05d}_stats.json").write_text(json.dumps({"count": 8, "successes": 7}))
    wanted = [text for n, text in enumerate(CAPTIONS) if n % 8 != 3]
    assert samples(root, "{00000..00001}.tar") == (wanted, {})
    with webdataset.ShardWriter(str(root / "many-%06d.tar"), maxcount=4, verbose=0) as out:
        for n in range(8):
            out.write({"__key__": f"tr\u00e4in.v2/\u65e5\u672c{n:04d}", "jpg": Image.open(io.BytesIO(jpeg(n))), "txt": CAPTIONS[n], "cls": 3})
    assert samples(root, "many-{000000..000001}.tar") == (CAPTIONS[:8], {})
    with webdataset.TarWriter(str(root / "packed.tar.gz")) as out:
        for n in range(4):
            out.write({"__key__": f"{n}", "webp": jpeg(n, "WEBP"), "json": {"caption": CAPTIONS[n]}})
    assert samples(root, "packed.tar.gz") == (CAPTIONS[:4], {})
    whole = (root / "00000.tar").read_bytes()
    for name, content in (("cut.tar", whole[: len(whole) // 2]), ("cut.tar.gz", gzip.compress(whole)[:-400])):
        (root / name).write_bytes(content)
        found, reasons = samples(root, name)
        assert found == wanted[: len(found)] and 0 < len(found) < 7 and sum(reasons.values()) == 1, (name, found, reasons)
    # As tar packs a folder: by names, and in the folder's own order.
    (root / "plain").mkdir()
    for n in range(6):
        (root / "plain" / f"Bild \u00e4 {n}.JPG").write_bytes(jpeg(n))
        (root / "plain" / f"Bild \u00e4 {n}.TXT").write_text(CAPTIONS[n])
    subprocess.run(["tar", "--sort=name", "-cf", "../sorted.tar", "."], cwd=root / "plain", check=True)
    names = [f"./Bild \u00e4 {n}.{end}" for end in ("JPG", "TXT") for n in range(6)]
    subprocess.run(["tar", "-cf", "../apart.tar", *names], cwd=root / "plain", check=True)
    assert samples(root, "sorted.tar") == (CAPTIONS[:6], {})
    found, reasons = samples(root, "apart.tar")
    assert not found and reasons["files of a sample that lie apart (tar --sort=name lays them together)"] == 6, reasons
    assert captions(root, "folder:plain") == CAPTIONS[:6]


def check_tables(root: Path) -> None:
    (root / "images" / "a").mkdir(parents=True)
    for n in range(len(ODD)):
        (root / "images" / "a" / f"{n}.jpg").write_bytes(jpeg(n))
    table = pandas.DataFrame({"filepath": [f"a/{n}.jpg" for n in range(len(ODD))], "caption": ODD})
    table.to_csv(root / "t.tsv", sep="\t", index=False)
    table.to_csv(root / "wide.tsv", sep="\t", index=False, encoding="utf-16")
    table.to_csv(root / "t.csv")
    table.to_csv(root / "semicolons.csv", sep=";", index=False, encoding="utf-8-sig")
    table.to_parquet(root / "t.parquet")
    table.to_json(root / "t.jsonl", orient="records", lines=True)
    for name in ("t.tsv", "wide.tsv", "t.csv", "semicolons.csv", "t.parquet", "t.jsonl"):
        assert captions(root, f"table:{name}:images") == ODD, name


def check_labels(root: Path) -> None:
    """Nested photos of odd names with two regions each, in the formats that CVAT exports."""
    top, below = np.zeros((2, *SIDE), bool)
    top[:20, :30] = below[30:, 20:60] = True
    wanted = np.where(top, 0, np.where(below, 1, 254))
    items = []
    for n, stem in enumerate(("Bild \u00e4", "b.c", "sub/b.c", "other/x")):
        path = root / "photos" / f"{stem}.{'JPG' if n == 3 else 'jpg'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(n))
        regions = [Mask(top, label=1, group=1, z_order=0), Mask(below, label=2, group=2, z_order=1)]
        items.append(datumaro.DatasetItem(id=stem, subset="val" if n == 3 else "train", media=Photo.from_file(path=str(path)), annotations=regions))
    made = datumaro.Dataset.from_iterable(items, categories=["background", "dog", "wet grass"], media_type=Photo)
    made.export(str(root / "voc"), "voc_segmentation", save_media=True)
    made.export(str(root / "coco"), "coco_instances", save_media=True)
    instances = "coco:coco/annotations/instances_train.json"
    for name, count in (("folder:voc", 4), (f"{instances}:coco/images/train", 3), (f"{instances}:photos", 3)):
        found = read_set(root, name)
        assert found.names == ["dog", "wet grass"] and len(found.train) + len(found.held) == count, (name, len(found.train), len(found.held))
        assert count == 3 or [photo.path.name for photo in found.held] == ["x.JPG"]
        for photo in found.train + found.held:
            assert (photo.labels() == wanted).all(), (name, photo.path)


def main() -> None:
    for check in (check_shards, check_tables, check_labels):
        with tempfile.TemporaryDirectory() as place:
            check(Path(place))
        print(f"{check.__name__}: as it should be")


if __name__ == "__main__":
    if len(sys.argv) != 1:
        sys.exit(__doc__)
    main()
