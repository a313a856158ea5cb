"""Compares the scoring and mask kernels with NumPy's BLAS and with ndarray, in turn, on one thread.

    cargo build --release -p edge-seg-kernels --bench kernels      (prints where the executable is)
    OPENBLAS_NUM_THREADS=1 python runtime/kernels/benches/kernels.py EXECUTABLE [ROUNDS]
    OPENBLAS_NUM_THREADS=1 python runtime/kernels/benches/kernels.py EXECUTABLE ROUNDS BEFORE

Prints the median of processor milliseconds of each task and its ratio to the baseline; smaller is faster. NumPy must be on one thread.
With another build's executable, BEFORE, the kernels' tasks run by both in turn, and the ratio is the median of the rounds' own.
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
    executable, rounds, before = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 7, sys.argv[3:]
    random = np.random.default_rng(0)
    unit = lambda rows: rows / np.linalg.norm(rows, axis=1, keepdims=True)
    patches = unit(random.normal(size=(784, 512))).astype(np.float32)
    bank = unit(random.normal(size=(20000, 512))).astype(np.float32)

    def numpy_product():
        return float((patches @ bank.T)[0, 0])

    def numpy_scan():
        """What a scan finds: each patch's best word and softmax denominator, each word's best patch."""
        logits = patches @ bank.T
        logits *= 20
        words, _ = logits.argmax(axis=1), logits.argmax(axis=0)
        logits -= logits.max(axis=1, keepdims=True)
        np.exp(logits, out=logits)
        logits.sum(axis=1)
        return int(words.sum())

    with tempfile.TemporaryDirectory() as folder:
        for name, values in [("patches", patches), ("bank", bank), ("planes", smooth_planes(random))]:
            values.tofile(Path(folder) / f"{name}.f32")
        programs = [subprocess.Popen([path, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for path in [executable, *before]]

        def ask(task, program=programs[0]):
            program.stdin.write(task + "\n")
            program.stdin.flush()
            milliseconds, checksum = program.stdout.readline().split("\t")
            return float(milliseconds), int(checksum)

        def timed(task):
            start = time.process_time()
            checksum = task()
            return 1e3 * (time.process_time() - start), checksum

        sets = ["avx2", "avx512", "avx512vnni"] if "avx512_vnni" in Path("/proc/cpuinfo").read_text() else ["avx2"]
        scans = [f"scan {s} {p}" for s in sets for p in ["f32", "f16", "int8"]]
        if before:
            compare([f"mask {sets[-1]}", *scans], rounds, lambda task: [ask(task, program) for program in programs])
        else:
            tasks = {"numpy product": lambda: timed(numpy_product), "numpy scan": lambda: timed(numpy_scan)}
            for task in ["product ndarray", "scan ndarray", "mask ndarray", "mask scalar", f"mask {sets[-1]}", *scans]:
                tasks[task] = lambda task=task: ask(task)
            measure(tasks, rounds)
        for program in programs:
            program.stdin.close()
            program.wait()


def compare(tasks, rounds, ask):
    """Both builds in turn."""
    for task in tasks:
        found = [ask(task) for _ in range(rounds)]
        assert len({checksum for both in found for _, checksum in both}) == 1, f"{task}: the results differ"
        now, before = zip(*[[milliseconds for milliseconds, _ in both] for both in found])
        ratio = statistics.median(a / b for a, b in zip(now, before))
        medians = {"milliseconds": round(statistics.median(now), 2), "before": round(statistics.median(before), 2)}
        print(json.dumps({"task": task, **medians, "ratio": round(ratio, 3)}), flush=True)


def measure(tasks, rounds):
    found = {name: [] for name in tasks}
    checksums = {}
    for _ in range(rounds):
        for name, task in tasks.items():
            milliseconds, checksums[name] = task()
            found[name].append(milliseconds)
    exact = {name for name in checksums if name.startswith("scan") and name.endswith("f32")}
    assert {checksums[name] for name in exact} == {checksums["numpy scan"]}, f"the best words differ: {checksums}"
    medians = {name: statistics.median(times) for name, times in found.items()}
    for name, median in medians.items():
        base = "mask ndarray" if name.startswith("mask") else "numpy scan"
        print(json.dumps({"task": name, "milliseconds": round(median, 2), f"ratio to {base}": round(median / medians[base], 3)}))


if __name__ == "__main__":
    main()
