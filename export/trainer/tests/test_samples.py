"""Captioned photos as people have them: what is used, what is passed over, and that it is counted and told."""

import csv
import gzip
import io
import json
import random
import shutil
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_seg_trainer import samples, tar
from edge_seg_trainer.data import DataError, read_held_out, squashed
from edge_seg_trainer.kinds import make_stage
from edge_seg_trainer.pairs import read_pairs, read_set
from edge_seg_trainer.schema import RecipeError
from edge_seg_trainer.shards import Count, ShardReader, _braces, expand, read_shard, sample_of, shuffled
from edge_seg_trainer.stages import Part
from edge_seg_trainer.train import Run
from conftest import needed
from test_shards import picture, shard
from test_train import DENSE, PAIRS, TTD, losses, start


def read(place: Path) -> tuple[list, dict]:
    count = Count()
    return list(read_shard(place, count)), dict(count.reasons)


@pytest.mark.parametrize(
    ("ends", "caption"),
    [
        ({"jpg": picture(9), "mask.png": b"no picture", "txt": b"a cat"}, "a cat"),
        ({"thumb.jpg": b"no picture", "jpg": picture(9), "txt": b"a cat"}, "a cat"),
        ({"left.jpg": picture(9), "right.jpg": b"no picture", "txt": b"a cat"}, "a cat"),
        ({"caption.txt": b"a cat", "image.jpg": picture(9), "meta.json": b'{"caption": "a dog"}'}, "a cat"),
        ({"JPG": picture(9), "TXT": b"\xef\xbb\xbfa cat\n"}, "a cat"),
    ],
)
def test_the_key_ends_at_the_first_dot_of_the_base_name(tmp_path, ends, caption):
    shard(tmp_path / "s.tar", {f"part.0/{n:04d}": ends for n in range(4)})
    found, reasons = read(tmp_path / "s.tar")
    assert [raw.captions for raw in found] == [(caption,)] * 4 and not reasons
    assert len({raw.key for raw in found}) == 4
    assert found[0].decode().size == (32, 24)


def test_companions_of_macos_are_no_samples(tmp_path):
    parts = {
        "._0001": {"jpg": b"\0\5\x16\7", "txt": b"\0\5\x16\7"},
        "0001": {"jpg": picture(1), "txt": b"a cat"},
        "__MACOSX/0001": {"jpg": b"x"},
    }
    shard(tmp_path / "s.tar", parts)
    found, reasons = read(tmp_path / "s.tar")
    assert len(found) == 1 and not reasons


def test_each_reason_is_counted(tmp_path):
    deep = b"[" * 200_000
    broken = {
        "a": {"jpg": picture(1), "json": b'{"caption": null}'},
        "b": {"jpg": picture(1), "json": json.dumps({"caption": ["", "  "]}).encode()},
        "c": {"jpg": picture(1), "json": json.dumps({"caption": {"en": "a cat"}}).encode()},
        "d": {"jpg": picture(1), "json": deep},
        "e": {"jpg": picture(1), "json": b'["a cat"]'},
        "f": {"jpg": picture(1), "txt": b"\xff\xfe\0c"},
        "g": {"jpg": picture(1), "txt": b"  \n"},
        "h": {"gif": picture(1), "txt": b"a cat"},
        "i": {"jpg": picture(1)},
        "j": {"jpg": picture(1), "json": json.dumps({"caption": ["a dog", "a wet dog"]}).encode()},
    }
    shard(tmp_path / "s.tar", broken)
    found, reasons = read(tmp_path / "s.tar")
    assert [raw.captions for raw in found] == [("a dog", "a wet dog")]
    assert reasons == {
        "without caption": 3, "empty caption": 2, "caption is no text": 1, "JSON unreadable (RecursionError)": 1, "caption is not UTF-8": 1,
        "without picture": 1,
    }  # fmt: skip
    drawn = {caption for _, caption in [next(ShardReader([str(tmp_path / "s.tar")], seed, 0, 1, 1).decoded()) for seed in range(20)]}
    assert drawn == {"a dog", "a wet dog"}


def test_what_claims_too_much_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr("edge_seg_trainer.shards.MOST_PICTURE_BYTES", 5000)
    monkeypatch.setattr("edge_seg_trainer.shards.MOST_TEXT_BYTES", 600)
    monkeypatch.setattr("edge_seg_trainer.tar.MOST_TEXT_BYTES", 600)
    with gzip.open(tmp_path / "s.tar.gz", "wb") as packed:
        held = io.BytesIO()
        with tarfile.open(fileobj=held, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for name, content in [
                ("a.jpg", picture(1)),
                ("a.txt", b"a cat"),
                ("b.jpg", bytes(6000)),
                ("b.txt", b"a dog"),
                ("c.jpg", picture(1)),
                ("c.txt", bytes(700)),
            ]:
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
            entry = tarfile.TarInfo("d.jpg")
            entry.pax_headers = {"comment": "x" * 1000}
            archive.addfile(entry)
        packed.write(held.getvalue())
    (tmp_path / "s.tar").write_bytes(held.getvalue())
    assert read(tmp_path / "s.tar")[1] == read(tmp_path / "s.tar.gz")[1]
    found, reasons = read(tmp_path / "s.tar.gz")
    assert [raw.captions for raw in found] == [("a cat",)]
    assert reasons == {"picture of too many bytes": 1, "caption of too many bytes": 1, "broken shard (ReadError)": 1}


def test_a_large_picture_is_counted_as_unusable(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 600)
    with pytest.raises(samples.Unusable, match="picture too large"):
        samples.picture(picture(1))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300)
    with pytest.raises(samples.Unusable, match="picture too large"):
        samples.picture(picture(1))


def test_pictures_stand_upright():
    held, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 20)).save(held, "JPEG", exif=exif)
    assert samples.picture(held.getvalue()).size == (20, 30)


@pytest.mark.parametrize("size", [(97, 60), (30, 41), (64, 64), (640, 480)])
def test_squares_are_those_of_pillow(size):
    rng = np.random.default_rng(1)
    image = Image.fromarray(rng.integers(0, 255, (9, 9, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC)
    wanted = np.asarray(image.resize((64, 64), Image.Resampling.BICUBIC)).astype(int)
    found = squashed(image, 64).permute(1, 2, 0).numpy().astype(int)
    assert np.abs(found - wanted).max() <= 2 and np.abs(found - wanted).mean() < 0.05


def test_names_of_shards_are_expanded(tmp_path):
    assert _braces("{a,b}/{08..10}.tar") == ["a/08.tar", "a/09.tar", "a/10.tar", "b/08.tar", "b/09.tar", "b/10.tar"]
    assert _braces("{a..c}{1..5..2}") == [f"{letter}{number}" for letter in "abc" for number in (1, 3, 5)]
    assert _braces("s{0{8..9},{1,2}0}.tar") == ["s08.tar", "s09.tar", "s10.tar", "s20.tar"]
    for pattern in ("{3..1}.tar", "{0..9..0}.tar", "{0..99999999}.tar", "{0..9999}{0..9999}"):
        with pytest.raises(DataError, match="expected"):
            _braces(pattern)
    for name in ("a1.tar", "b1.tar", "b2.tar", "._b2.tar"):
        shard(tmp_path / name, {"a": {"jpg": b""}})
    assert [path.name for path in expand("{b,a}1.tar::b*.tar", tmp_path)] == ["b1.tar", "a1.tar", "b2.tar"]
    with pytest.raises(DataError, match="1 of 2 shards are missing"):
        expand("{a,c}1.tar", tmp_path)


@pytest.mark.parametrize("name", ["we{i}rd.tar", "[x].tar", "a::b.tar", "{0..3}.tar", "star*.tar", "open{.tar", "with space é.tar"])
def test_a_shard_is_found_by_its_own_name_whatever_letters_it_has(tmp_path, name):
    for one in (name, "weird.tar", "x.tar", "a", "b.tar", "stars.tar"):
        shard(tmp_path / one, {"a": {"jpg": b""}})
    assert expand(name, tmp_path) == [tmp_path / name]
    assert expand(str(tmp_path / name)) == [tmp_path / name]
    assert tmp_path / name in expand("*.tar", tmp_path)


def test_braces_around_no_choice_are_letters(tmp_path):
    assert _braces("we{i}rd{}.tar") == ["we{i}rd{}.tar"]
    assert _braces("{we{i}rd,{0..1}}.tar") == ["we{i}rd.tar", "0.tar", "1.tar"]
    for one in ("we{i}rd.tar", "[x]1.tar"):
        shard(tmp_path / one, {"a": {"jpg": b""}})
    assert [path.name for path in expand("{we{i}rd,[x]1}.tar", tmp_path)] == ["we{i}rd.tar", "[x]1.tar"]
    with pytest.raises(DataError, match=r"we\{j\}rd.tar: expected tar shards, found none; \{00000..00331\}, \{a,b\}"):
        expand("we{j}rd.tar", tmp_path)


def folder_set(root: Path, name: str) -> None:
    """A set of eight photos: some rows are short, empty, or name what is no picture."""
    place = root / "pairs" / name
    (place / "images").mkdir(parents=True)
    rows = ["split\tfile\tcaption"]
    for n in range(8):
        Image.fromarray(np.full((64, 64, 3), 20 * n, np.uint8)).save(place / "images" / f"{n}.png")
        rows.append(f"train\t{n}.png\tthe fire beside the sea")
    (place / "images" / "bad.png").write_bytes(b"no picture")
    rows += [
        "train\tbad.png\tthe grass beside the sea",
        "train\t0.png\t  ",
        "train\t1.png",
        "train",
        "train\tgone.png\tthe fire and the sea",
    ]
    (place / "captions.tsv").write_text("\n".join(rows) + "\n")


STREAMED = [TTD, PAIRS, PAIRS | {"learns": "all"}, DENSE | {"taught": 4}]


@pytest.mark.parametrize("stage", STREAMED, ids=["ttd", "pairs of a cache", "pairs", "taught"])
@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_sample_of_a_folder_never_ends_a_training(recipe, world, tmp_path, stage, workers):
    root = tmp_path / "root"
    root.mkdir()
    for part in world.iterdir():
        if part.name != "pairs":
            (root / part.name).symlink_to(part)
    folder_set(root, "mine")
    said = []
    made = recipe(stage | {"pairs": ["mine"], "steps": 4}, data=str(root), workers=workers)
    run = Run(made, Path("."), said.append)
    run.follow()
    # What the table lacks is counted as what cannot be read is.
    counted = next(entry for line in run.metrics.read_text().splitlines() if "passed_over" in (entry := json.loads(line)))["passed_over"]
    assert {name: counted[name] for name in ("without caption", "empty caption", "picture missing", "row without a file")} == {
        "without caption": 1, "empty caption": 1, "picture missing": 1, "row without a file": 1,
    }  # fmt: skip
    assert all(np.isfinite(loss) for loss in losses(run).values()) and len(losses(run)) == 4
    told = "\n".join(said)
    assert "mine: passed over 4: 1 empty caption" in told
    assert "picture unreadable (UnidentifiedImageError)" in told, told


def test_what_a_folder_lacks_is_counted(world, tmp_path):
    folder_set(tmp_path, "mine")
    said = []
    pairs = read_pairs(tmp_path, ["mine"], "train", said.append)
    assert len(pairs) == 9 and all(text for pair in pairs for text in pair.captions)
    assert said == ["mine: passed over 4: 1 empty caption, 1 without caption, 1 row without a file, 1 picture missing"]
    with pytest.raises(DataError, match=r"no picture with a caption of split 'val'.*the table has rows 13 of split 'train'"):
        read_pairs(tmp_path, ["mine"], "val")


def test_half_a_letter_ends_no_training(recipe, world, tmp_path):
    place = tmp_path / "cut"
    shutil.copytree(world / "pairs" / "shades" / "images", place)
    for number, path in enumerate(sorted(place.glob("*.png"))):
        text = "fire beside the sea" + (" \ud83d" if number % 2 else "")
        path.with_suffix(".json").write_text(json.dumps({"caption": [text, text] if number % 3 else text}))
    found = read_set(world, f"folder:{place}", "train")
    assert len(found.pairs) == 12 and dict(found.skipped) == {"caption is not Unicode": 12}
    made = recipe(TTD | {"pairs": [f"folder:{place}"], "steps": 2})
    assert Run(made, Path("."), lambda _: None).follow()


def test_a_list_of_held_out_photos_is_read_as_windows_writes_it(tmp_path):
    place = tmp_path / "held-out.txt"
    place.write_bytes("\ufeffa.jpg\r\nb.jpg # why\r\n".encode())
    assert read_held_out(place) == {"a.jpg", "b.jpg"}
    place.write_bytes(b"caf\xe9.jpg\n")
    with pytest.raises(DataError, match="expected file names in UTF-8, found another byte at 3"):
        read_held_out(place)


def test_captions_beside_pictures_are_a_set(tmp_path):
    # As img2dataset's files, as a folder of jpg and txt, and as the TTD authors lay out CC3M.
    plain = tmp_path / "plain" / "00000"
    plain.mkdir(parents=True)
    for n in range(3):
        (plain / f"{n}.jpg").write_bytes(picture(n))
    (plain / "0.txt").write_text("the fire")
    (plain / "1.json").write_text(json.dumps({"caption": "the sea"}))
    (plain / "._0.jpg").write_bytes(b"x")
    said = []
    assert [pair.captions for pair in read_pairs(tmp_path, ["folder:plain"], say=said.append)] == [("the fire",), ("the sea",)]
    assert said == ["folder:plain: passed over 1: 1 without caption"]
    for split, count in (("train", 2), ("validation", 1)):
        for kind in ("image", "json"):
            (tmp_path / "cc3m" / split / kind).mkdir(parents=True)
        for n in range(count):
            (tmp_path / "cc3m" / split / "image" / f"{n}.jpg").write_bytes(picture(n))
            (tmp_path / "cc3m" / split / "json" / f"{n}.json").write_text(json.dumps({"caption": f"{split} {n}"}))
    assert [pair.captions[0] for pair in read_pairs(tmp_path, ["folder:cc3m"])] == ["train 0", "train 1"]
    assert [pair.captions[0] for pair in read_pairs(tmp_path, ["folder:cc3m"], "val")] == ["validation 0"]


def test_tables_are_sets(tmp_path):
    (tmp_path / "images").mkdir()
    for n in range(2):
        (tmp_path / "images" / f"{n}.jpg").write_bytes(picture(n))
    (tmp_path / "list.csv").write_text('\ufefffilepath,title\n0.jpg,"the fire, the sea"\n1.jpg,the grass\n')
    (tmp_path / "list.tsv").write_text("filename\ttext\nimages/0.jpg\tthe fire\n")
    assert [pair.captions for pair in read_pairs(tmp_path, ["table:list.csv:images"])] == [("the fire, the sea",), ("the grass",)]
    assert [pair.captions for pair in read_pairs(tmp_path, ["table:list.tsv"])] == [("the fire",)]
    (tmp_path / "cc3m.tsv").write_text("a very typical bus station\thttp://example.org/a.jpg\n")
    # open_clip's: a .csv with tabs; img2dataset's keys name files in the folder of their shard.
    (tmp_path / "open.csv").write_text('title\tfilepath\n"the fire, the ""sea"""\timages/0.jpg\n')
    assert [pair.captions for pair in read_pairs(tmp_path, ["table:open.csv"])] == [('the fire, the "sea"',)]
    (tmp_path / "files" / "00001").mkdir(parents=True)
    (tmp_path / "files" / "00001" / "000010007.jpg").write_bytes(picture(0))
    (tmp_path / "keys.tsv").write_text("url\tkey\tcaption\nhttp://example.org/a\t000010007\tthe fire\n")
    assert [pair.path.name for pair in read_pairs(tmp_path, ["table:keys.tsv:files"])] == ["000010007.jpg"]
    with pytest.raises(DataError, match="fetched by img2dataset"):
        read_pairs(tmp_path, ["table:cc3m.tsv"])
    with pytest.raises(DataError, match="no form 'coc:', did you mean 'coco:'"):
        read_pairs(tmp_path, ["coc:x:y"])
    with pytest.raises(DataError, match="order; stages of kind ttd"):
        read_pairs(tmp_path, ["shards:x.tar"])


ODD = ["a dog on grass", 'a "wet" dog', '"A dog"', "a\tdog", "a dog\non grass", "a dog, grass"]


def quoted(rows: list[list[str]], delimiter: str) -> str:
    """A table as pandas and spreadsheets write it."""
    held = io.StringIO(newline="")
    csv.writer(held, delimiter=delimiter).writerows(rows)
    return held.getvalue()


@pytest.mark.parametrize(("name", "delimiter"), [("t.tsv", "\t"), ("t.csv", ","), ("t.csv", ";"), ("T.TSV", "\t")])
@pytest.mark.parametrize("code", ["utf-8", "utf-8-sig", "utf-16"])
def test_tables_of_spreadsheets_are_read(tmp_path, name, delimiter, code):
    rows = [["file", "caption"], *([f"{n}.jpg", text] for n, text in enumerate(ODD))]
    (tmp_path / name).write_text(quoted(rows, delimiter), encoding=code, newline="")
    for n in range(len(ODD)):
        (tmp_path / f"{n}.jpg").write_bytes(picture(n))
    assert [pair.captions for pair in read_pairs(tmp_path, [f"table:{name}"])] == [(text,) for text in ODD]


def test_a_stray_quote_takes_no_row_with_it(tmp_path):
    texts = ['"Open dog', 'a 5" dog', '"A dog" he said', 'dog and "cat"', "dog"]
    for n in range(len(texts)):
        (tmp_path / f"{n}.jpg").write_bytes(picture(n))
    (tmp_path / "t.tsv").write_text("file\tcaption\n" + "".join(f"{n}.jpg\t{text}\n" for n, text in enumerate(texts)))
    assert [pair.captions for pair in read_pairs(tmp_path, ["table:t.tsv"])] == [(text,) for text in texts]
    # With commas a quote is needed where a caption has one, so an open one is a fault.
    (tmp_path / "t.csv").write_text("file,caption\n0.jpg,a dog\n1.jpg,\"Open dog\n2.jpg,dog\n")
    with pytest.raises(DataError, match="t.csv, line 3: a quote begins there that nothing ends"):
        read_pairs(tmp_path, ["table:t.csv"])
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"file,caption\n"))
    with pytest.raises(DataError, match="packed by gzip; unpack it"):
        read_pairs(tmp_path, ["table:t.csv.gz"])


def test_lines_of_json_are_a_set(tmp_path):
    (tmp_path / "0.jpg").write_bytes(picture(0))
    lines = [{"file_name": "0.jpg", "text": "a dog\u2028on grass"}, {"file_name": "0.jpg", "text": ["a cat"], "more": 1}, {"file_name": "0.jpg"}]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    said = []
    assert [pair.captions for pair in read_pairs(tmp_path, ["table:t.jsonl"], say=said.append)] == [("a dog\u2028on grass", "a cat")]
    assert said == ["table:t.jsonl: passed over 1: 1 without caption"]
    (tmp_path / "t.jsonl").write_text('{"file": "0.jpg", "text": "x"}\n[1]\n')
    with pytest.raises(DataError, match="line 2: expected a JSON object, found list"):
        read_pairs(tmp_path, ["table:t.jsonl"])


def test_pictures_are_found_however_their_names_are_written(tmp_path):
    (tmp_path / "in" / "sub").mkdir(parents=True)
    (tmp_path / "in" / "a\u0308.JPG").write_bytes(picture(0))
    (tmp_path / "in" / "a\u0308.TXT").write_text("a dog")
    (tmp_path / "in" / "sub" / "b.c.jpeg").write_bytes(picture(1))
    (tmp_path / "in" / "sub" / "b.c.txt").write_text("a cat")
    assert [pair.captions for pair in read_pairs(tmp_path, ["folder:in"])] == [("a dog",), ("a cat",)]
    # Folders that are links count, and one that leads back up does not go round.
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "more").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "sub" / "up").symlink_to(tmp_path / "in")
    assert [pair.captions for pair in read_pairs(tmp_path, ["folder:linked"])] == [("a dog",), ("a cat",)]
    (tmp_path / "t.tsv").write_text("file\tcaption\n\u00e4.JPG\ta dog\nsub\\b.c.jpeg\ta cat\n", encoding="utf-8")
    assert [pair.path.name for pair in read_pairs(tmp_path, ["table:t.tsv:in"])] == ["a\u0308.JPG", "b.c.jpeg"]


def test_samples_of_one_key_are_told_apart(tmp_path):
    members = [(f"a.{end}", content) for n in range(3) for end, content in (("jpg", picture(n)), ("txt", f"dog {n}".encode()))]
    with tarfile.open(tmp_path / "s.tar", "w") as archive:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    found, reasons = read(tmp_path / "s.tar")
    assert [raw.captions for raw in found] == [("dog 0",), ("dog 1",), ("dog 2",)] and not reasons


def test_files_of_a_sample_that_lie_apart_are_told(tmp_path):
    shard(tmp_path / "s.tar", {f"{n}": {"jpg": picture(n)} for n in range(3)} | {f"./{n}": {"txt": b"a dog"} for n in range(3)})
    with tarfile.open(tmp_path / "t.tar", "w") as archive:
        for end, content in (("jpg", picture(0)), ("txt", b"a dog")):
            for n in range(3):
                entry = tarfile.TarInfo(f"{n}.{end}")
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    assert read(tmp_path / "t.tar") == ([], {"without caption": 3, "files of a sample that lie apart (tar --sort=name lays them together)": 3})
    with pytest.raises(DataError, match="expected tar shards, found a folder; take .*/\\*.tar"):
        expand(str(tmp_path))


def test_parquet_lists_are_sets(tmp_path):
    parquet, arrow = needed("pyarrow.parquet"), needed("pyarrow")
    (tmp_path / "0.jpg").write_bytes(picture(0))
    parquet.write_table(arrow.table({"path": ["0.jpg", "gone.jpg"], "caption": ["the fire", "the sea"]}), tmp_path / "list.parquet")
    assert [pair.captions for pair in read_pairs(tmp_path, ["table:list.parquet"])] == [("the fire",)]
    parquet.write_table(arrow.table({"path": ["0.jpg", "0.jpg"], "caption": [["the fire", "the sea"], None]}), tmp_path / "lists.parquet")
    assert [pair.captions for pair in read_pairs(tmp_path, ["table:lists.parquet"])] == [("the fire", "the sea")]
    parquet.write_table(arrow.table({"image": [{"bytes": picture(0), "path": "0.jpg"}], "text": ["the fire"]}), tmp_path / "held.parquet")
    with pytest.raises(DataError, match="found pictures in 'image'; write them out as files, or as shards"):
        read_pairs(tmp_path, ["table:held.parquet"])
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match="bad.parquet: expected a Parquet table"):
        read_pairs(tmp_path, ["table:bad.parquet"])


def test_parquet_without_its_package_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "list.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="list.parquet: Parquet needs the Python package pyarrow"):
        read_pairs(tmp_path, ["table:list.parquet"])


def test_pruning_tells_shards_of_one_name_apart(recipe, tmp_path):
    """img2dataset names shards and keys alike in every set."""
    for name in ("cc3m", "cc12m"):
        (tmp_path / name).mkdir()
        shard(
            tmp_path / name / "00000.tar",
            {f"{n:05d}": {"jpg": picture(9 * n), "txt": f"the fire beside the sea {n}".encode()} for n in range(8)},
        )
    said = []
    stage = TTD | {
        "pairs": [f"shards:{tmp_path / name / '00000.tar'}" for name in ("cc3m", "cc12m")],
        "steps": 1,
        "batch": 4,
        "shuffle": 3,
        "prune": 0.25,
    }
    run = Run(recipe(stage), Path("."), said.append)
    run.follow()
    assert any("pruning: 4 of 16 pairs left out" in text for text in said)
    from edge_seg_trainer.prune import kept

    source = make_stage(run.recipe.stages[0], run.around)
    assert len(kept(source, run.around)) == 12
    (shards,) = source.shards
    reader = ShardReader(shards.patterns, 0, 0, 1, 1, shards.keep)
    assert sum(1 for _ in reader.epoch(0)) == 12


def test_shards_are_looked_for_in_the_datas_folder(recipe, world, tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    for part in world.iterdir():
        (root / part.name).symlink_to(part)
    shard(root / "0.tar", {f"{n}": {"jpg": picture(9 * n), "txt": b"the fire beside the sea"} for n in range(6)})
    run = start(recipe(TTD | {"pairs": ["shards:{0..0}.tar"], "steps": 2, "batch": 4, "shuffle": 3}, data=str(root)))
    run.follow()
    assert len(losses(run)) == 2


def two_kinds(root: Path, world: Path) -> list[str]:
    """A folder whose captions name the grass, and shards whose captions name the sea."""
    root.mkdir()
    for part in world.iterdir():
        (root / part.name).symlink_to(part)
    (root / "mine").mkdir()
    for n in range(6):
        (root / "mine" / f"{n}.jpg").write_bytes(picture(9 * n))
        (root / "mine" / f"{n}.txt").write_text(f"the grass and fire {n}")
    for name in ("a", "b"):
        shard(root / f"{name}.tar", {f"{n}": {"jpg": picture(9 * n), "txt": f"the sea and snow {n}".encode()} for n in range(8)})
    return ["folder:mine", "shards:{a,b}.tar"]


@pytest.mark.parametrize("workers", [0, 2])
def test_folders_and_shards_are_mixed_by_their_weights_and_resume(recipe, world, tmp_path, workers):
    folder, shards = two_kinds(tmp_path / "root", world)
    stage = TTD | {"pairs": [f"{folder}=1", f"{shards}=3"], "steps": 8, "batch": 8, "shuffle": 3}
    given = {"data": str(tmp_path / "root"), "workers": workers, "save_every": 1}
    whole = start(recipe(stage, name="whole", **given))
    source = make_stage(whole.recipe.stages[0], whole.around)
    source.open(0, 1, [])
    batches = [source.load(Part(step)) for step in range(8)]
    named = [sum("grass" in caption for caption in batch["captions"]) for batch in batches]
    assert named == [2] * 8
    # Mixed within the batch too, so that each rank's half has some of both sooner or later.
    assert len({tuple("grass" in caption for caption in batch["captions"]) for batch in batches}) > 1
    whole.follow()
    broken = recipe(stage, name="broken", **given)
    start(broken).follow(until=5)
    again = start(broken)
    again.follow()
    assert losses(again) == losses(whole)


def test_sets_of_one_kind_are_mixed_by_their_weights(recipe, world, tmp_path):
    root = tmp_path / "root"
    two_kinds(root, world)
    run = start(recipe(PAIRS | {"learns": "all", "pairs": ["folder:mine=3", "shades=1"], "steps": 2}, data=str(root)))
    source = make_stage(run.recipe.stages[0], run.around)
    for step in range(4):
        rows = source.load(Part(step))["rows"]
        assert sum(row < 6 for row in rows) == 6 and len(set(rows)) == 8
    run.follow()


def test_weights_that_do_not_fit_are_named(recipe):
    for pairs, message in (
        (["shades", "shards:a.tar"], "expected a weight for each set"),
        (["shades=1", "other"], "expected a weight above 0 for each set .*'other'"),
        (["shades=0"], "above 0"),
    ):
        with pytest.raises(RecipeError, match=message):
            recipe(TTD | {"pairs": pairs})
    with pytest.raises(RecipeError, match="weights are for kinds pairs and ttd"):
        recipe(DENSE | {"pairs": ["shades=1"], "taught": 4})


def test_pruning_looks_at_every_kind_of_set(recipe, world, tmp_path):
    pairs = two_kinds(tmp_path / "root", world)
    said = []
    stage = TTD | {"pairs": [f"{name}=1" for name in pairs], "steps": 2, "batch": 4, "shuffle": 3, "prune": 0.25}
    Run(recipe(stage, data=str(tmp_path / "root")), Path("."), said.append).follow()
    assert any("pruning: 5 of 22 pairs left out" in text for text in said)


def test_memory_is_bounded_by_what_a_buffer_and_a_sample_may_hold(tmp_path, monkeypatch):
    monkeypatch.setattr("edge_seg_trainer.shards.MOST_BUFFER_BYTES", 10_000)
    monkeypatch.setattr("edge_seg_trainer.shards.MOST_PICTURE_BYTES", 5_000)
    shard(tmp_path / "s.tar", {f"{n}": {"jpg": bytes(4_000), "txt": b"a cat"} for n in range(20)})
    given = [0]

    def counted():
        for sample in read_shard(tmp_path / "s.tar", Count()):
            given[0] += 1
            yield sample

    drawn = 0
    for _ in shuffled(counted(), 100, random.Random(0)):
        drawn += 1
        assert given[0] - drawn <= 2
    assert drawn == 20
    # Many fields of one key are one sample.
    shard(tmp_path / "t.tar", {"a": {f"{n}.jpg": bytes(2_000) for n in range(50)} | {"txt": b"a cat"}})
    held = []
    monkeypatch.setattr(
        "edge_seg_trainer.shards.sample_of",
        lambda key, parts, too_large: held.append(sum(map(len, parts.values()))) or sample_of(key, parts, too_large),
    )
    assert len(list(read_shard(tmp_path / "t.tar", Count()))) == 1 and held[0] <= 5_000


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_archives_are_read_as_tarfile_reads_them(tmp_path, form):
    rng = random.Random(3)
    names = ["a.jpg", "b/c.txt", f"{'d' * 90}/{'e' * 60}.jpg", "ä.txt", "empty.txt", "f.jpg"]
    names += [f"{'g' * 80}/{'h' * 140}.jpg"] * (form != tarfile.USTAR_FORMAT)
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w", format=form) as archive:
        folder = tarfile.TarInfo("b")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for n, name in enumerate(names):
            entry = tarfile.TarInfo(name)
            entry.size = 0 if name == "empty.txt" else rng.randrange(1, 3000)
            entry.mtime = 1e9 + 0.25 if form == tarfile.PAX_FORMAT else 10**9  # as webdataset writes it
            archive.addfile(entry, io.BytesIO(rng.randbytes(entry.size)))
            if n == 3:
                link = tarfile.TarInfo("link.jpg")
                link.type, link.linkname = tarfile.SYMTYPE, "a.jpg"
                archive.addfile(link)
    plain, packed = tmp_path / "s.tar", tmp_path / "s.tar.gz"
    plain.write_bytes(held.getvalue())
    packed.write_bytes(gzip.compress(held.getvalue()))
    with tarfile.open(plain) as archive:
        wanted = [(member.name, archive.extractfile(member).read()) for member in archive if member.isfile()]
    assert len(wanted) == len(names)
    for place in (plain, packed):
        assert list(tar.members(place, lambda name: 4000)) == wanted
    assert [name for name, _ in tar.members(plain, lambda name: 4000 if name.endswith(".txt") else -1)] == [
        name for name, _ in wanted if name.endswith(".txt")
    ]
    # Cut anywhere, it gives whole members or an error, never a part of one.
    content = held.getvalue()
    for length in [*range(0, len(content), 97), *range(0, len(content), tar.BLOCK), len(content) - 1]:
        plain.write_bytes(content[:length])
        found = []
        try:
            for one in tar.members(plain, lambda name: 4000):
                found.append(one)
        except Exception as error:
            assert isinstance(error, (tarfile.TarError, EOFError)), error
        else:
            assert found == wanted
        assert found == wanted[: len(found)]
