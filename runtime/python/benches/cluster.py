"""Pictures a core and second of examples/cluster/label_ray.py: two of Ray's workers beside one process, both with one thread each.

    pip install ./runtime/python 'ray[data]'
    python runtime/python/benches/cluster.py PICTURES [--rounds N]

PICTURES is a folder; some hundred pictures, so that starting counts for little. The two take turns. What a core is: the time from the first
shard's file to the last, times the processes that work; beside it the processor time of the processes that hold a model, which does not
depend on what else the machine does.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SCRIPT = Path(__file__).parents[3] / "examples" / "cluster" / "label_ray.py"
WORDS = "person, car, road, tree, building, sky, grass, sign"


def processor_s(run: int, workers: int, known: dict[int, int]) -> float:
    """Seconds that a run's processes with a model have computed so far. Ray lets go of workers that find no more work, before the last
    shard is done: `known` keeps what each had."""
    ticks = {}
    parents = {}
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit():
                number, fields = int(process.name), (process / "stat").read_text().rsplit(")", 1)[1].split()
                parents[number] = int(fields[1])
                if number == run if not workers else (process / "cmdline").read_bytes().startswith(b"ray::MapWorker"):
                    ticks[number] = int(fields[11]) + int(fields[12])
        except OSError:
            continue

    def began(process: int | None) -> bool:
        while process and process != run:
            process = parents.get(process)
        return process == run

    known.update((process, of) for process, of in ticks.items() if began(process))
    return sum(known.values()) / os.sysconf("SC_CLK_TCK")


def run(pictures: Path, workers: int) -> tuple[float, float]:
    """Pictures a second and core, and pictures a second of processor time, between the first shard and the last."""
    shard = 4
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        command = [sys.executable, SCRIPT, pictures, out, "--words", WORDS, "--workers", str(workers), "--threads", "1", "--shard", str(shard)]
        quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DATA_DISABLE_PROGRESS_BARS": "1"}
        child = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env={**os.environ, **quiet})
        first, last, count = 0.0, 0.0, 0
        known: dict[int, int] = {}
        computed = [0.0, 0.0]
        while child.poll() is None:
            done = len(list((out / "shards").glob("*.jsonl"))) if (out / "shards").exists() else 0
            used = processor_s(child.pid, workers, known)
            if done > count:
                now = time.monotonic()
                if not count:
                    first, computed[0], begun = now, used, done
                count, last, computed[1] = done, now, used
            time.sleep(0.1)
        if child.returncode:
            sys.exit(child.communicate()[1])
        finished = shard * (count - begun)
        return finished / (last - first) / max(workers, 1), finished / (computed[1] - computed[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    ratios = []
    for _ in range(args.rounds):
        alone, two = run(args.pictures, 0), run(args.pictures, 2)
        ratios.append((two[0] / alone[0], two[1] / alone[1]))
        print(f"one process {alone[0]:.2f}, two workers {two[0]:.2f} pictures a second and core; of processor time {alone[1]:.2f}, {two[1]:.2f}", flush=True)
    wall, processor = (statistics.median(ratio) for ratio in zip(*ratios))
    print(f"a core of two workers does {wall:.2f} of what one process does; by processor time {processor:.2f}; load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
