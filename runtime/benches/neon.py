"""Predicts the throughput of the NEON inner loops with llvm-mca, without a board.

    python runtime/benches/neon.py      (needs llvm-mca-19 and a rustc with AArch64's standard library; RUSTC names another one)

Cortex-A72 is scheduled as LLVM schedules it (the Cortex-A57's model), Cortex-A76 as Neoverse N1, the server core made from it.
"""
import os
import re
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROCESSORS = {"Cortex-A53": "cortex-a53", "Cortex-A72": "cortex-a72", "Cortex-A76": "neoverse-n1"}
# Loop, the instruction that marks it and how often it stands there, multiplications of numbers for each, processors that have it.
LOOPS = [
    ("scoring, f32, fmla", "fmla", 16, 4, PROCESSORS),
    ("scoring, int8, sdot", "sdot", 16, 16, ["Cortex-A76"]),
    ("layers, f32, fmla", "fmla", 24, 4, PROCESSORS),
    ("layers and scoring, int8, smull and sadalp", "smull|smull2|smlal|smlal2", 32, 8, PROCESSORS),
    ("layers, int8, sdot", "sdot", 64, 16, ["Cortex-A76"]),
]


def inner_loops(assembly):
    """Bodies of loops that hold no other label."""
    labels, lines = {}, assembly.split("\n")
    for index, line in enumerate(lines):
        if found := re.match(r"^(\.L\w+):", line):
            labels[found[1]] = index
        if (found := re.match(r"\s+(?:b\.\w+|cbn?z\s+\w+,|tbn?z.*,)\s*(\.L\w+)", line)) and found[1] in labels:
            body = lines[labels[found[1]] + 1 : index + 1]
            if not any(re.match(r"^\.L\w+:", part) for part in body):
                yield [part for part in body if re.match(r"^\t[a-z]", part)]


def main():
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "kernels.s"
        options = ["--edition", "2024", "-O", "--crate-type", "lib", "--crate-name", "kernels", "-C", "codegen-units=1", "--emit", "asm"]
        target = ["--target", "aarch64-unknown-linux-gnu", str(ROOT / "runtime/src/simd/mod.rs")]
        subprocess.run([os.environ.get("RUSTC", "rustc"), *options, "-o", str(out), *target], check=True)
        loops = list(inner_loops(out.read_text()))
    print("| loop | processor | multiplications a step | cycles a step | multiplications a cycle |\n|---|---|---|---|---|")
    for name, mark, count, width, processors in LOOPS:
        body = next(body for body in loops if len(re.findall(rf"\b(?:{mark})\b", "\n".join(body))) == count)
        for processor in processors:
            call = ["llvm-mca-19", "-march=aarch64", f"-mcpu={PROCESSORS[processor]}", "-mattr=+dotprod", "-iterations=1000"]
            report = subprocess.run(call, input="\n".join(body), text=True, capture_output=True, check=True).stdout
            cycles = int(re.search(r"Total Cycles:\s+(\d+)", report)[1]) / 1000
            print(f"| {name} | {processor} | {count * width} | {cycles:.2f} | {count * width / cycles:.2f} |")


if __name__ == "__main__":
    main()
