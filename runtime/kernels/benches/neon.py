"""Predicts the throughput of the NEON inner loops with llvm-mca, without a board.

    python runtime/kernels/benches/neon.py      (needs llvm-mca-19 and a rustc with AArch64's standard library; RUSTC names another one)

Cortex-A72 is scheduled as LLVM schedules it (the Cortex-A57's model), Cortex-A76 as Neoverse N1, the server core made from it.
The share is of what the processor's model makes of the marked instruction alone.
"""
import os
import re
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PROCESSORS = {
    "Cortex-A53": "cortex-a53",
    "Cortex-A72": "cortex-a72",
    "Cortex-A76": "neoverse-n1",
    "Neoverse N2": "neoverse-n2",
    "Neoverse V1": "neoverse-v1",
    "Neoverse V2": "neoverse-v2",
    "Neoverse V3AE": "neoverse-v3ae",
}
BOARDS = ["Cortex-A53", "Cortex-A72", "Cortex-A76"]
MATRIX = ["Neoverse N2", "Neoverse V1", "Neoverse V2", "Neoverse V3AE"]
# Loop, the instruction that marks it and how often it stands there, multiplications of numbers for each, processors that have it.
LOOPS = [
    ("scoring, f32, fmla", r"fmla\s+v\d+\.4s", 16, 4, BOARDS),
    ("scoring, int8, sdot", r"sdot\b", 16, 16, ["Cortex-A76"]),
    ("layers, f32, fmla", r"fmla\s+v\d+\.4s", 24, 4, [*BOARDS, "Neoverse V3AE"]),
    ("layers, f16, fmla", r"fmla\s+v\d+\.8h", 128, 8, ["Cortex-A76", "Neoverse V2", "Neoverse V3AE"]),
    ("layers and scoring, int8, smull and sadalp", r"(?:smull|smull2|smlal|smlal2)\b", 32, 8, BOARDS),
    ("layers, int8, sdot", r"sdot\b", 64, 16, ["Cortex-A76", *MATRIX]),
    ("layers, int8, usmmla", r"usmmla\b", 32, 32, MATRIX),
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


def cycles(instructions, processor):
    """Cycles of one pass."""
    call = ["llvm-mca-19", "-march=aarch64", f"-mcpu={PROCESSORS[processor]}", "-mattr=+dotprod,+fullfp16,+i8mm", "-iterations=1000"]
    report = subprocess.run(call, input="\n".join(instructions), text=True, capture_output=True, check=True).stdout
    return int(re.search(r"Total Cycles:\s+(\d+)", report)[1]) / 1000


def limit(instruction, processor):
    """Instructions of a kind in a cycle, each with sums of its own."""
    alone = [re.sub(r"\bv\d+", f"v{register}", instruction, count=1) for register in range(8, 32)]
    alone = [re.sub(r"(,\s*)v\d+(\..*?,\s*)v\d+", r"\g<1>v0\g<2>v1", line) for line in alone]
    return len(alone) / cycles(alone, processor)


def span(values, form):
    """The smallest and the largest where they differ as they are written."""
    texts = [format(value, form) for value in (values[0], values[-1])]
    return " to ".join(dict.fromkeys(texts))


def main():
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "kernels.s"
        options = ["--edition", "2024", "-O", "--crate-type", "lib", "--crate-name", "kernels", "-C", "codegen-units=1", "--emit", "asm"]
        target = ["--target", "aarch64-unknown-linux-gnu", str(ROOT / "runtime/kernels/src/lib.rs")]
        subprocess.run([os.environ.get("RUSTC", "rustc"), *options, "-o", str(out), *target], check=True)
        loops = list(inner_loops(out.read_text()))
    print("| loop | processor | multiplications a step | cycles a step | multiplications a cycle | of the limit |\n|---|---|---|---|---|---|")
    for name, mark, count, width, processors in LOOPS:
        marked = lambda body: [line for line in body if re.match(rf"\s+{mark}", line)]
        bodies = [body for body in loops if len(marked(body)) == count]
        for processor in processors:
            each = sorted({round(cycles(body, processor), 2) for body in bodies})
            share = [100 * count / taken / limit(marked(bodies[0])[0], processor) for taken in each]
            rates = [count * width / taken for taken in each]
            cells = [span(each, ".2f"), span(rates[::-1], ".2f"), span(share[::-1], ".0f")]
            print(f"| {name} | {processor} | {count * width} | {cells[0]} | {cells[1]} | {cells[2]} % |")


if __name__ == "__main__":
    main()
