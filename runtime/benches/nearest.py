"""Compares the exact scan that `edge-seg search` makes with an approximate index (HNSW, as usearch builds it), on embeddings of real photos.

    python -m venv VENV && VENV/bin/pip install numpy usearch edge_seg-*.whl
    cargo test --release --workspace --lib --no-run       (prints where edge_seg_live's test executable is)
    VENV/bin/python runtime/benches/nearest.py PICTURES WORDS --scan EXECUTABLE [--rows N]

PICTURES is a folder, whose sub-folders are looked into but for `labels`; WORDS is a file with a word a line. HNSW is asked for rows at several
widths of its search, and told how many of the exact scan's 20 and 1,000 best it finds. The scan's time is that of `a_day_of_a_camera` for as
many rows, on two threads; HNSW's is processor time of one.
"""
import argparse
import re
import subprocess
import time
from pathlib import Path

import edge_seg
import numpy as np
from usearch.index import Index

PER_PICTURE = 160
BEST = (20, 1000)


def rows_of(model, pictures, count, rng):
    rows, seen = [], 0
    for picture in pictures:
        patches = model.encode(edge_seg.read_picture(picture)).patches.reshape(-1, model.dim)
        rows.append(rng.permutation(patches)[:PER_PICTURE])
        seen += len(rows[-1])
        if seen >= count:
            break
    return np.concatenate(rows)[:count]


def scan_ms(executable, rows):
    command = [executable, "--ignored", "--nocapture", "--exact", "search::tests::a_day_of_a_camera"]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    embeddings = int(re.search(r"(\d+) embeddings", told)[1])
    return [(int(words), float(ms) * rows / embeddings) for words, ms in re.findall(r"(\d+) words: median (\d+) ms", told)]


def main():
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("pictures", type=Path)
    ask.add_argument("words", type=Path)
    ask.add_argument("--scan", required=True)
    ask.add_argument("--rows", type=int, default=100_000)
    given = ask.parse_args()
    model = edge_seg.Model(threads=1)
    pictures = sorted(path for path in given.pictures.rglob("*") if path.suffix.lower() in {".jpg", ".jpeg", ".png", ".webp"} and path.parent.name != "labels")
    rows = rows_of(model, pictures, given.rows, np.random.default_rng(1))
    words = [word for word in given.words.read_text().splitlines() if word.strip()]
    queries = np.stack([model.embed_text(word) for word in words])
    cosines = queries @ rows.T
    best = np.argsort(-cosines, axis=1)[:, : max(BEST)]
    print(f"{len(rows)} rows of {rows.shape[1]} numbers, {len(words)} words")

    index = Index(ndim=rows.shape[1], metric="cos", dtype="i8", connectivity=16, expansion_add=128)
    start = time.process_time()
    index.add(np.arange(len(rows)), rows, threads=1)
    built = time.process_time() - start
    print(f"HNSW: {built:.0f} s to build ({1e3 * built / len(rows):.2f} ms a row), {index.memory_usage / 1e6:.0f} MB of memory, "
          f"{rows.nbytes // 4 / 1e6:.0f} MB of it the rows")
    for wanted, expansion in [(20, 64), (20, 512), (20, 4096), (1000, 1000), (1000, 4096), (1000, 32_768)]:
        index.expansion_search = expansion
        index.search(queries[:2], wanted, threads=1)
        start = time.process_time()
        found = [set(index.search(query, wanted, threads=1).keys.tolist()) for query in queries]
        took = 1e3 * (time.process_time() - start) / len(queries)
        shares = [f"{np.mean([len(a.intersection(b[:n].tolist())) / n for a, b in zip(found, best)]):.3f} of the {n} best" for n in BEST if n <= wanted]
        print(f"HNSW, {wanted} rows asked for, expansion {expansion}: {took:.2f} ms a word, {', '.join(shares)}")
    for count, took in scan_ms(given.scan, len(rows)):
        print(f"exact scan: {took:.1f} ms for {count} words")


if __name__ == "__main__":
    main()
