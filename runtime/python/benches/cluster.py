"""Pictures a core and second of examples/cluster/label_ray.py: two of Ray's workers beside one process, both with one thread each.

    pip install ./runtime/python 'ray[data]'
    python runtime/python/benches/cluster.py PICTURES [--rounds N]

PICTURES is a folder; some hundred pictures, so that starting counts for little. They take turns: one process, two of them at once without
Ray, which tells what the machine's other work and its shared memory cost, and Ray's two workers. What a core is: the time from the first
shard's file to the last, times the processes that work; beside it the processor time of the processes that hold a model.
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
SHARD = 4


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


class Run:
    """A run of the script, watched shard by shard."""

    def __init__(self, pictures: Path, out: Path, workers: int) -> None:
        self.out, self.workers = out, workers
        command = [sys.executable, SCRIPT, pictures, out, "--words", WORDS, "--workers", str(workers), "--threads", "1", "--shard", str(SHARD)]
        quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DATA_DISABLE_PROGRESS_BARS": "1"}
        self.child = subprocess.Popen(
            list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env={**os.environ, **quiet}
        )
        self.known: dict[int, int] = {}
        # Shards, when the last one of them was there, and the processor time until then; when the first was, and now.
        self.first: tuple[int, float, float] | None = None
        self.last = (0, 0.0, 0.0)

    def is_running(self) -> bool:
        done = len(list((self.out / "shards").glob("*.jsonl"))) if (self.out / "shards").exists() else 0
        used = processor_s(self.child.pid, self.workers, self.known)
        if done > self.last[0]:
            self.last = (done, time.monotonic(), used)
            self.first = self.first or self.last
        ended = self.child.poll()
        if ended:
            sys.exit(self.child.communicate()[1])
        return ended is None

    def rates(self) -> tuple[float, float]:
        """Pictures a second and core, and pictures a second of processor time, between the first shard and the last."""
        assert self.first is not None, "shards were done"
        shards, passed, used = (after - before for before, after in zip(self.first, self.last))
        return SHARD * shards / passed / max(self.workers, 1), SHARD * shards / used


def measure(sources: list[Path], workers: int) -> tuple[float, float]:
    """The mean rates of a run of each source, all at once."""
    with tempfile.TemporaryDirectory() as folder:
        runs = [Run(source, Path(folder) / str(number), workers) for number, source in enumerate(sources)]
        while any([run.is_running() for run in runs]):
            time.sleep(0.1)
        wall, processor = zip(*(run.rates() for run in runs))
        return statistics.mean(wall), statistics.mean(processor)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        paths = sorted(str(path.absolute()) for path in args.pictures.iterdir())
        halves = [Path(folder) / "even.txt", Path(folder) / "odd.txt"]
        for start, half in enumerate(halves):
            half.write_text("\n".join(paths[start::2]))
        for _ in range(args.rounds):
            alone, both, two = measure([args.pictures], 0), measure(halves, 0), measure([args.pictures], 2)
            ratios.append((two[0] / alone[0], two[0] / both[0], two[1] / alone[1]))
            print(f"one process {alone[0]:.2f}, two at once {both[0]:.2f}, two workers {two[0]:.2f} pictures a second and core;", end=" ")
            print(f"a second of processor time {alone[1]:.2f}, {both[1]:.2f}, {two[1]:.2f}", flush=True)
    wall, beside, processor = (statistics.median(ratio) for ratio in zip(*ratios))
    print(f"a core of two workers does {wall:.2f} of what one process does, {beside:.2f} of what each of two processes at once does;")
    print(f"by processor time {processor:.2f} of one process's; load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
