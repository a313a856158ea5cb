"""Compares the scoring and mask kernels with NumPy's BLAS and with ndarray, in turn, on one thread.

    cargo build --release -p edge-seg-kernels --bench kernels      (prints where the executable is)
    OPENBLAS_NUM_THREADS=1 python runtime/kernels/benches/kernels.py EXECUTABLE [ROUNDS]

Prints the median of processor milliseconds of each task and its ratio to the baseline; smaller is faster. NumPy must be on one thread.
"""
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np


def smooth_planes(random):
    """Logits as a camera picture gives them: every class has a place, with some noise on it."""
    y, x = np.mgrid[0:28, 0:28].astype(np.float32)
    at = random.uniform(0, 28, (21, 2))
    planes = np.stack([-0.1 * np.hypot(x - cx, y - cy) for cx, cy in at])
    return (planes + random.normal(0, 0.05, planes.shape)).astype(np.float32)


def main():
    executable, rounds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 7
    random = np.random.default_rng(0)
    unit = lambda rows: rows / np.linalg.norm(rows, axis=1, keepdims=True)
    patches = unit(random.normal(size=(784, 512))).astype(np.float32)
    bank = unit(random.normal(size=(20000, 512))).astype(np.float32)

    def numpy_product():
        return float((patches @ bank.T)[0, 0])

    def numpy_scan():
        """What a scan finds: each patch's best tag and softmax denominator, each tag's best patch."""
        logits = patches @ bank.T
        logits *= 20
        tags, _ = logits.argmax(axis=1), logits.argmax(axis=0)
        logits -= logits.max(axis=1, keepdims=True)
        np.exp(logits, out=logits)
        logits.sum(axis=1)
        return int(tags.sum())

    with tempfile.TemporaryDirectory() as folder:
        for name, values in [("patches", patches), ("bank", bank), ("planes", smooth_planes(random))]:
            values.tofile(Path(folder) / f"{name}.f32")
        kernels = subprocess.Popen([executable, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

        def ask(task):
            kernels.stdin.write(task + "\n")
            kernels.stdin.flush()
            milliseconds, checksum = kernels.stdout.readline().split("\t")
            return float(milliseconds), int(checksum)

        def timed(task):
            before = time.process_time()
            checksum = task()
            return 1e3 * (time.process_time() - before), checksum

        sets = ["avx2", "avx512", "avx512vnni"] if "avx512_vnni" in Path("/proc/cpuinfo").read_text() else ["avx2"]
        tasks = {"numpy product": lambda: timed(numpy_product), "numpy scan": lambda: timed(numpy_scan)}
        names = ["product ndarray", "scan ndarray", "mask ndarray", "mask scalar", f"mask {sets[-1]}"]
        for task in names + [f"scan {s} {p}" for s in sets for p in ["f32", "f16", "int8"]]:
            tasks[task] = lambda task=task: ask(task)
        found = {name: [] for name in tasks}
        checksums = {}
        for _ in range(rounds):
            for name, task in tasks.items():
                milliseconds, checksums[name] = task()
                found[name].append(milliseconds)
        kernels.stdin.close()
        kernels.wait()
    exact = {name for name in checksums if name.startswith("scan") and name.endswith("f32")}
    assert {checksums[name] for name in exact} == {checksums["numpy scan"]}, f"the best tags differ: {checksums}"
    medians = {name: statistics.median(times) for name, times in found.items()}
    for name, median in medians.items():
        base = "mask ndarray" if name.startswith("mask") else "numpy scan"
        print(json.dumps({"task": name, "milliseconds": round(median, 2), f"ratio to {base}": round(median / medians[base], 3)}))


if __name__ == "__main__":
    main()
