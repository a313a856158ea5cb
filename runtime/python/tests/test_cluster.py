"""The example for many machines: alone, and on Ray's cluster of two workers of which one is killed."""

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import PICTURES

import edge_seg

SCRIPT = Path(__file__).parents[3] / "examples" / "cluster" / "label_ray.py"
ALL = sorted(PICTURES.glob("*.jpg"))
WORDS = ["--words", "cat, cup, person, wall"]


def run(*arguments: object, code: int = 0, **variables: str) -> str:
    ended = subprocess.run([sys.executable, SCRIPT, *map(str, arguments)], capture_output=True, text=True, timeout=600, env={**os.environ, **variables})
    assert ended.returncode == code, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


def many(folder: Path, count: int) -> Path:
    """Pictures in nested folders, small, each another one."""
    from PIL import Image

    for number in range(count):
        place = folder / f"{number % 3}" / f"{number:03}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(ALL[number % len(ALL)]) as picture:
            picture.rotate(7 * number, expand=True).resize((160, 120)).save(place)
    return folder


def tars(folder: Path, pictures: Path) -> Path:
    """The same pictures as webdataset has them: what belongs to one picture lies together, under one stem."""
    folder.mkdir()
    listed = sorted(pictures.rglob("*.jpg"))
    for at in range(0, len(listed), 5):
        with tarfile.open(folder / f"train-{at // 5:06}.tar", "w") as tar:
            for path in listed[at : at + 5]:
                tar.add(path, str(path.relative_to(pictures)))
                text = b"a caption"
                member = tarfile.TarInfo(str(path.relative_to(pictures).with_suffix(".txt")))
                member.size = len(text)
                tar.addfile(member, io.BytesIO(text))
    return folder


def test_shards_are_done_once_and_joined(tmp_path: Path) -> None:
    pictures = many(tmp_path / "pictures", 12)
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    run(pictures, whole, *WORDS, "--workers", 0, "--shard", 5)
    told = json.loads((whole / "coco.json").read_text())
    assert [image["file_name"] for image in told["images"]] == [str(path.relative_to(pictures)) for path in sorted(pictures.rglob("*.jpg"))]
    assert [image["id"] for image in told["images"]] == list(range(1, 13)) and told["annotations"]
    # What the library labels, picture by picture.
    model = edge_seg.Model()
    expected = [region for path in sorted(pictures.rglob("*.jpg")) for region in model.label(path, WORDS[1]).regions]
    names = {category["id"]: category["name"] for category in told["categories"]}
    assert len(expected) == len(told["annotations"])
    for region, one in zip(expected, told["annotations"]):
        assert (region.name, region.rle(), list(region.box), region.area) == (names[one["category_id"]], one["segmentation"], one["bbox"], one["area"])

    run(pictures, resumed, *WORDS, "--workers", 0, "--shard", 5)
    (resumed / "coco.json").unlink()
    (resumed / "shards" / "000001.jsonl").unlink()
    (resumed / "shards" / "000001.jsonl.elsewhere-1.part").write_text("of a worker that died")
    kept = resumed / "shards" / "000000.jsonl"
    before = kept.stat().st_mtime_ns
    run(pictures, resumed, *WORDS, "--workers", 0, "--shard", 5)
    assert (resumed / "coco.json").read_bytes() == (whole / "coco.json").read_bytes() and kept.stat().st_mtime_ns == before
    assert sorted(path.name for path in (resumed / "shards").iterdir()) == [f"{number:06}.jsonl" for number in range(3)]
    assert "another one's shards" in run(pictures, resumed, "--words", "dog", "--workers", 0, code=1)
    assert "expected pictures or tars" in run(tmp_path / "nowhere", tmp_path / "out", code=1)
    assert "one word or more" in run(pictures, tmp_path / "out", "--workers", 0, code=1)


@pytest.mark.parametrize("task", ["label", "tags", "embed"])
def test_tars_give_what_their_pictures_do(task: str, tmp_path: Path) -> None:
    pictures = many(tmp_path / "pictures", 12)
    tar = tars(tmp_path / "tars", pictures)
    words = [] if task == "embed" else WORDS
    run(pictures, tmp_path / "files", "--do", task, *words, "--workers", 0)
    run(tar / "train-*.tar", tmp_path / "tarred", "--do", task, *words, "--workers", 0)
    outcome = {"label": ["coco.json"], "tags": ["tags.jsonl"], "embed": ["embeddings.npy", "pictures.jsonl"]}[task]
    for name in outcome:
        assert (tmp_path / "tarred" / name).read_bytes() == (tmp_path / "files" / name).read_bytes()
    model, first = edge_seg.Model(), sorted(pictures.rglob("*.jpg"))[0]
    if task == "embed":
        rows: Any = np.load(tmp_path / "files" / "embeddings.npy", mmap_mode="r")
        assert rows.shape == (12, model.dim) and rows.dtype == np.float32
        assert np.abs(rows[0] - model.encode(first).embedding).max() < 1e-6
        assert json.loads((tmp_path / "files" / "pictures.jsonl").read_text().splitlines()[0]) == {"file": str(first.relative_to(pictures))}
    if task == "tags":
        told = json.loads((tmp_path / "files" / "tags.jsonl").read_text().splitlines()[0])
        assert [word for word, _ in told["tags"]] == [word for word, _ in model.tags(first, WORDS[1])]


def test_what_cannot_be_read_costs_itself_alone(tmp_path: Path) -> None:
    pictures = many(tmp_path / "pictures", 6)
    (pictures / "broken.jpg").write_text("no picture")
    assert "broken.jpg: " in run(pictures, tmp_path / "files", *WORDS, "--workers", 0, code=2)
    assert len(json.loads((tmp_path / "files" / "coco.json").read_text())["images"]) == 6
    tar = tars(tmp_path / "tars", pictures)
    cut = sorted(tar.iterdir())[0]
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    said = run(tar, tmp_path / "tarred", *WORDS, "--workers", 0, code=2)
    assert f"{cut}: the tar ends here" in said
    assert 2 <= len(json.loads((tmp_path / "tarred" / "coco.json").read_text())["images"]) < 6
    (tmp_path / "list.txt").write_text("pictures/0/000.jpg\n\npictures/none.jpg\n")
    assert "pictures/none.jpg: " in run(tmp_path / "list.txt", tmp_path / "listed", *WORDS, "--workers", 0, code=2)


@pytest.mark.parametrize("task", ["label", "embed"])
def test_what_failed_once_is_tried_again_and_nothing_else(task: str, tmp_path: Path) -> None:
    pictures = many(tmp_path / "pictures", 6)
    words = [] if task == "embed" else WORDS
    job = ["--do", task, *words, "--workers", 0, "--shard", 3]
    outcome = ["embeddings.npy", "pictures.jsonl"] if task == "embed" else ["coco.json"]
    run(pictures, tmp_path / "whole", *job)
    late = sorted(pictures.rglob("*.jpg"))[1]
    content = late.read_bytes()
    late.write_bytes(content[:100])
    out = tmp_path / "resumed"
    assert f"{late.relative_to(pictures)}: " in run(pictures, out, *job, code=2)
    first, second = out / "shards" / "000000.jsonl", out / "shards" / "000001.jsonl"
    marked = [json.loads(line) for line in first.read_text().splitlines()]
    assert [("error" in one) for one in marked] == [False, True, False]
    before = second.stat().st_mtime_ns
    assert f"{late.relative_to(pictures)}: " in run(pictures, out, *job, code=2), "it is still broken"
    late.write_bytes(content)
    others = [path for path in pictures.rglob("*.jpg") if path != late]
    held = [path.read_bytes() for path in others]
    for path in others:
        path.write_text("not to be read again")
    run(pictures, out, *job)
    for name in outcome:
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert second.stat().st_mtime_ns == before
    # A shard that is gone, and one that was damaged, are done anew.
    for path, data in zip(others, held):
        path.write_bytes(data)
    first.unlink()
    second.write_bytes(second.read_bytes()[:-40])
    run(pictures, out, *job)
    for name in outcome:
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_tar_that_came_whole_later_is_read_on(tmp_path: Path) -> None:
    pictures = many(tmp_path / "pictures", 6)
    tar = tars(tmp_path / "tars", pictures)
    cut = sorted(tar.iterdir())[0]
    whole = cut.read_bytes()
    cut.write_bytes(whole[: len(whole) // 2])
    run(tar, tmp_path / "out", *WORDS, "--workers", 0, code=2)
    cut.write_bytes(whole)
    run(tar, tmp_path / "out", *WORDS, "--workers", 0)
    run(pictures, tmp_path / "files", *WORDS, "--workers", 0)
    assert (tmp_path / "out" / "coco.json").read_bytes() == (tmp_path / "files" / "coco.json").read_bytes()


def names(out: Path) -> list[str]:
    return [image["file_name"] for image in json.loads((out / "coco.json").read_text())["images"]]


def test_lists_are_read_as_editors_write_them(tmp_path: Path) -> None:
    pictures = many(tmp_path / "my pictures", 3)
    (pictures / "0" / "000.jpg").rename(pictures / "0" / "ä ö.jpg")
    first = "my pictures/0/ä ö.jpg"
    rest = ["my pictures/1/001.jpg", str(pictures / "2" / "002.jpg"), "./my pictures/1/001.jpg", "  my pictures/1/001.jpg "]
    expected = sorted([first, "my pictures/1/001.jpg", rest[1]])
    for number, (end, encoding) in enumerate([("\n", "utf-8"), ("\r\n", "utf-8-sig"), ("\r\n", "utf-16"), ("\r", "utf-8-sig")]):
        (tmp_path / "list.txt").write_bytes((end.join([first, *rest, "", first]) + end).encode(encoding))
        out = tmp_path / f"out-{number}"
        run(tmp_path / "list.txt", out, *WORDS, "--workers", 0, LC_ALL="C")
        assert names(out) == expected, encoding
    (tmp_path / "empty.txt").write_text("\n\n")
    assert "expected pictures or tars, found none" in run(tmp_path / "empty.txt", tmp_path / "none", *WORDS, code=1)
    (tmp_path / "latin.txt").write_bytes("ä.jpg\n".encode("latin-1"))
    said = run(tmp_path / "latin.txt", tmp_path / "none", *WORDS, code=1)
    assert "expected a list of paths in UTF-8" in said and "Traceback" not in said


def test_single_pictures_globs_and_folders_with_others_are_sources(tmp_path: Path) -> None:
    pictures = many(tmp_path / "pictures", 3)
    for name in ["notes.txt", ".hidden.jpg", "a.jpg.part"]:
        (pictures / name).write_text("no picture")
    one = pictures / "0" / "000.jpg"
    run(one, tmp_path / "one", *WORDS, "--workers", 0)
    assert names(tmp_path / "one") == [str(one)]
    run(pictures / "**" / "*", tmp_path / "glob", *WORDS, "--workers", 0)
    assert names(tmp_path / "glob") == sorted(map(str, pictures.rglob("[0-9]*.jpg")))
    assert "out of" not in run(pictures, tmp_path / "folder", *WORDS, "--workers", 0)
    assert names(tmp_path / "folder") == ["0/000.jpg", "1/001.jpg", "2/002.jpg"]
    # A tar by what it holds, not by its name; a file name that is no text.
    tar = tars(tmp_path / "tars", pictures)
    odd = (tar / "train-000000.tar").rename(tar / "shard")
    run(odd, tmp_path / "tarred", *WORDS, "--workers", 0)
    assert names(tmp_path / "tarred")[:3] == ["0/000.jpg", "1/001.jpg", "2/002.jpg"]
    os.rename(os.fsencode(one), os.fsencode(pictures / "0") + b"/\xff.jpg")
    run(pictures, tmp_path / "bytes", *WORDS, "--workers", 0)
    assert names(tmp_path / "bytes") == ["0/\ufffd.jpg", "1/001.jpg", "2/002.jpg"]
    odd.rename(pictures / "train.tar")
    said = run(pictures, tmp_path / "both", *WORDS, "--workers", 0, code=1)
    assert "expected pictures or tars, found both, 3 and 1" in said and not (tmp_path / "both").exists()


def workers_of(run: int) -> set[int]:
    """The processes of Ray's that hold a model, of those that a run's process has started."""
    titles: dict[int, bytes] = {}
    parents: dict[int, int] = {}
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit():
                titles[int(process.name)] = (process / "cmdline").read_bytes()
                parents[int(process.name)] = int((process / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue

    def began(process: int | None) -> bool:
        while process and process != run:
            process = parents.get(process)
        return process == run

    return {process for process, title in titles.items() if title.startswith(b"ray::MapWorker") and began(process)}


def test_a_worker_is_killed_in_the_middle(tmp_path: Path) -> None:
    if find_spec("ray") is None:
        assert os.environ.get("EDGE_SEG_TESTS_REQUIRE") != "all", "Ray is installed"
        pytest.skip("Ray is not installed")
    pictures = many(tmp_path / "pictures", 120)
    run(pictures, tmp_path / "alone", *WORDS, "--workers", 0, "--shard", 2)
    out = tmp_path / "two"
    variables = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DATA_DISABLE_PROGRESS_BARS": "1"}
    arguments = [sys.executable, SCRIPT, pictures, out, *WORDS, "--workers", "2", "--shard", "2"]
    child = subprocess.Popen(list(map(str, arguments)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **variables})
    begun, seen, killed = time.monotonic(), set[int](), 0
    try:
        while child.poll() is None and time.monotonic() - begun < 500:
            seen |= (alive := workers_of(child.pid))
            done = len(list((out / "shards").glob("*.jsonl"))) if out.exists() else 0
            if not killed and len(alive) == 2 and done >= 4:
                killed = min(alive)
                os.kill(killed, signal.SIGKILL)
                assert done < 50, "the run is far from its end"
            time.sleep(0.05)
    finally:
        child.kill()
        said = child.communicate()[0]
    assert child.returncode == 0, said
    assert killed and len(seen) >= 3, f"one was killed and another one came: {seen}\n{said}"
    assert (out / "coco.json").read_bytes() == (tmp_path / "alone" / "coco.json").read_bytes()
    assert len(list((out / "shards").iterdir())) == 60
