"""Tar shards: read in order, dealt to readers, and what is broken in them."""

import contextlib
import io
import json
import multiprocessing
import random
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_seg_trainer import tar
from edge_seg_trainer.bench import loaded
from edge_seg_trainer.data import DataError
from edge_seg_trainer.pairs import read_pairs
from edge_seg_trainer.samples import MOST_PICTURE_BYTES, Unusable
from edge_seg_trainer.shards import Count, Raw, ShardReader, expand, read_shard
from edge_seg_trainer.train import Run
from test_train import TTD, losses, quiet, start


def picture(shade: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((24, 32, 3), shade, np.uint8)).save(out, "JPEG")
    return out.getvalue()


def shard(path, samples: dict[str, dict[str, bytes]]) -> None:
    with tarfile.open(path, "w") as archive:
        for key, parts in samples.items():
            for end, content in parts.items():
                entry = tarfile.TarInfo(f"{key}.{end}")
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))


@pytest.fixture
def shards(tmp_path):
    """Three shards of six samples, of which two are broken and one has its caption in the JSON alone."""
    for number in range(3):
        samples = {
            f"{number:05d}{n:04d}": {
                "jpg": picture(20 * n + number),
                "txt": f"the fire beside the sea {number}{n}".encode(),
                "json": json.dumps({"caption": "x", "key": n}).encode(),
            }
            for n in range(6)
        }
        if number == 1:
            samples["000010002"]["jpg"] = b"\xff\xd8 no picture"
            del samples["000010003"]["jpg"]
            del samples["000010004"]["txt"]
        shard(tmp_path / f"{number:05d}.tar", samples)
    return str(tmp_path / "{00000..00002}.tar")


def summed(header: bytes) -> bytes:
    """The header with its right sum."""
    blank = header[:148] + b" " * 8 + header[156:512]
    return blank[:148] + b"%06o\0 " % sum(blank) + blank[156:]


class Sound(io.BytesIO):
    """Is asked for so many bytes, never for all that there are."""

    def read(self, size=-1):
        assert 0 <= size <= MOST_PICTURE_BYTES
        return super().read(size)


def test_a_size_below_zero_reads_nothing(tmp_path):
    extended = tarfile.TarInfo("x")
    for kind in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.REGTYPE):
        extended.type = kind
        header = extended.tobuf(tarfile.USTAR_FORMAT)
        whole = summed(header[:124] + b"-0000000005\0" + header[136:]) + bytes(4096)
        with pytest.raises(tarfile.ReadError, match="size below 0"):
            list(tar._plain(Sound(whole), lambda name: 1 << 20))


def test_who_passes_over_what_is_not_there_ends_with_the_file():
    class Counted(Sound):
        reads = 0

        def read(self, size=-1):
            self.reads += 1
            return super().read(size)

    claims = tarfile.TarInfo("a.jpg")
    claims.type, claims.size = tarfile.CONTTYPE, 1 << 20
    handle = Counted(claims.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
    with pytest.raises(tarfile.ReadError, match="cut off|end of data"):
        list(tar._plain(handle, lambda name: 1 << 20))
    assert handle.reads < 100


def test_two_thousand_changes_of_a_shard_end_no_run():
    """Each gives samples or is counted, whatever headers claim; every second change of a header gets its right sum."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        long = "é" * 60
        files = {"a.jpg": picture(9), "a.txt": b"the sea", f"{long}.jpg": picture(99), f"{long}.json": b'{"caption": "x"}'}
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    whole = out.getvalue()
    heads = [at for at in range(0, len(whole), 512) if whole[at + 257 : at + 262] == b"ustar"]
    large = b"\x80" + (1 << 20).to_bytes(11, "big")
    odd = [b"-5", large, b"\0" * 12, b"00004000000", b"99 size=-7\n", b"x", b"L", b"S", b"g", b"\xff", b"GNU.sparse"]
    rng, given, broken = random.Random(7), 0, 0
    for number in range(2000):
        changed = bytearray(whole)
        for _ in range(rng.randint(1, 3)):
            at = rng.choice(heads) + rng.choice([0, 100, 124, 156, 257, 345, 512 + rng.randrange(64), rng.randrange(512)])
            piece = rng.choice([*odd, bytes([rng.randrange(256)])])
            changed[at : at + len(piece)] = piece
        if number % 2:
            for at in heads:
                changed[at : at + 512] = summed(bytes(changed[at : at + 512]))
        if number % 5 == 0:
            del changed[rng.randrange(len(changed)) :]
        count = Count()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tar, "members", lambda _, most, changed=changed: tar._plain(Sound(changed), most))
            samples = list(read_shard(Path("s.tar"), count))
        for sample in samples:
            assert sample.captions and all(isinstance(text, str) for text in sample.captions)
            with contextlib.suppress(Unusable):
                assert sample.decode().size == (32, 24)
        given, broken = given + len(samples), broken + count.corrupt
    assert given > 500 and broken > 500


def captions(reader: ShardReader, count: int, past: int = 0) -> list[str]:
    stream = reader.decoded(past=past)
    return [next(stream)[1] for _ in range(count)]


def test_corrupt_samples_are_counted_and_skipped(shards):
    reader = ShardReader([shards], 0, 0, 1, 4)
    found = captions(reader, 16)
    assert len(set(found)) == 16 and "x" in found
    next(reader.decoded())
    assert reader.count.corrupt >= 2
    assert set(reader.count.reasons) == {"without picture", "picture unreadable (UnidentifiedImageError)"}


def test_a_shard_that_is_cut_gives_what_it_holds(shards, tmp_path):
    place = tmp_path / "00000.tar"
    whole = place.read_bytes()
    place.write_bytes(whole[: len(whole) // 2])
    count = Count()
    found = list(read_shard(place, count))
    assert 0 < len(found) < 6 and count.corrupt == 1


def test_readers_share_the_shards_and_leave_none_out(shards):
    parts = [captions(ShardReader([shards], 7, reader, 3, 2), 4) for reader in range(3)]
    every = [text for part in parts for text in part]
    assert len(set(every)) == len(every) == 12
    assert captions(ShardReader([shards], 7, 0, 1, 100), 16) != captions(ShardReader([shards], 8, 0, 1, 100), 16)


def test_a_stream_goes_on_where_it_was(shards):
    whole = captions(ShardReader([shards], 3, 0, 1, 5), 40)
    before = ShardReader([shards], 3, 0, 1, 5)
    assert captions(before, 20) == whole[:20]
    assert captions(ShardReader([shards], 3, 0, 1, 5), 20, past=before.read) == whole[20:]


def test_missing_and_empty_shards_are_named(shards, tmp_path):
    with pytest.raises(DataError, match="1 of 4 shards are missing"):
        expand(str(tmp_path / "{00000..00003}.tar"))
    with pytest.raises(DataError, match="found none"):
        expand(str(tmp_path / "*.tgz"))
    for pattern in ("{a,b/*.tar", "x{0..2}/{a,{b,c}.tar"):
        with pytest.raises(DataError, match="expected a closing brace for the one at character"):
            expand(pattern, tmp_path)
    with pytest.raises(DataError, match="3 shards for 4 readers"):
        ShardReader([shards], 0, 3, 4, 1)
    shard(tmp_path / "bad.tar", {"a": {"jpg": b"no", "txt": b"t"}})
    with pytest.raises(DataError, match="no sample that can be read"):
        next(ShardReader([str(tmp_path / "bad.tar")], 0, 0, 1, 1).decoded())


@pytest.mark.parametrize("workers", [0, 2])
def test_training_from_shards_resumes_exactly_and_counts_the_corrupt(recipe, shards, workers):
    stage = TTD | {"pairs": [f"shards:{shards}"], "steps": 7, "batch": 4, "shuffle": 3}
    made = recipe(stage, name="whole", workers=workers, save_every=1)
    run = start(made)
    run.follow()
    assert '"corrupt"' in run.metrics.read_text()
    broken = recipe(stage, name="broken", workers=workers, save_every=1)
    start(broken).follow(until=3)
    again = start(broken)
    again.follow()
    assert losses(again) == losses(run)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resume_does_not_decode_what_it_passes_over(recipe, shards, workers, monkeypatch):
    decoded = multiprocessing.Value("i", 0)
    decode = Raw.decode

    def counted(self, side=0):
        with decoded.get_lock():
            decoded.value += 1
        return decode(self, side)

    made = recipe(TTD | {"pairs": [f"shards:{shards}"], "steps": 40, "batch": 4, "shuffle": 3}, workers=workers, save_every=1)
    start(made).follow(until=38)
    monkeypatch.setattr(Raw, "decode", counted)
    start(made).follow()
    # Two steps of four, and what one pass over the shards holds that is broken; not the 152 before.
    assert 8 <= decoded.value <= 16


def test_coco_captions_are_a_set(recipe, tmp_path):
    (tmp_path / "images").mkdir()
    for n in range(4):
        Image.new("RGB", (32, 32), (n * 40, 0, 0)).save(tmp_path / "images" / f"{n}.png")
    content = {
        "images": [{"id": n, "file_name": f"{n}.png"} for n in range(4)],
        "annotations": [{"image_id": n, "caption": f"the fire and the sea {n}"} for n in range(4)],
    }
    (tmp_path / "captions.json").write_text(json.dumps(content))
    name = f"coco:{tmp_path / 'captions.json'}:{tmp_path / 'images'}"
    assert len(read_pairs(tmp_path, [name])) == 4
    run: Run = start(recipe(TTD | {"pairs": [name], "steps": 2, "batch": 4}))
    run.follow()
    assert len(losses(run)) == 2
    content["annotations"].append({"image_id": 99, "caption": "x"})
    (tmp_path / "captions.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="captions.json"):
        read_pairs(tmp_path, [name])


def test_the_worst_pairs_are_pruned(recipe, shards):
    said = []
    run = Run(recipe(TTD | {"prune": 0.25, "steps": 1}), __import__("pathlib").Path("."), said.append)
    run.follow()
    assert any("pruning: 12 of 48 pairs left out" in text for text in said)
    stage = TTD | {"pairs": [f"shards:{shards}"], "steps": 2, "batch": 4, "shuffle": 3, "prune": 0.5}
    said.clear()
    run = Run(recipe(stage, name="pruned"), __import__("pathlib").Path("."), said.append)
    run.follow()
    assert any("pruning: 8 of 16 pairs left out" in text for text in said)
    quiet("")


@pytest.mark.parametrize("workers", [0, 2])
def test_loading_is_timed_by_itself(shards, workers):
    assert loaded([f"shards:{shards}"], workers, 4, 64, 6) > 0
    with pytest.raises(DataError, match="expected tar shards"):
        loaded(["shards:nowhere/*.tar"], workers, 4, 64, 6)
