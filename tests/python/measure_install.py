#!/usr/bin/env python3
"""Bytes that an installation writes and the memory that it takes: measure_install.py BUNDLE RUNTIME TOOL [OLD_TOOL]

TOOL, an edge-seg-fw, installs three releases of BUNDLE with RUNTIME into a root of its own, as on a board that runs its packaged program.
The first brings the program from the package, the others keep it. With an OLD_TOOL the same again, and the ratio of bytes. Exit status 1
when memory is above 64 MB, or an installation writes more than the bundle and a megabyte, the first the program too.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path


def written():
    return int(dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())["wchar"])


def measure(bundle, runtime, tool, folder):
    root = Path(folder)
    for name in ["usr/bin", "etc/edge-seg", "proc"]:
        (root / name).mkdir(parents=True)
    shutil.copy(runtime, root / "usr/bin/edge-seg")
    (root / "etc/edge-seg/edge-seg.toml").write_text('[input]\nsource = "test:"\n[words]\ntags = "cat"\n')
    rows = []
    for serial in (1, 2, 3):
        release = root / f"r{serial}.esb"
        subprocess.run([tool, "pack", bundle, "--serial", str(serial), "--boards", "", "-o", release], check=True, stdout=subprocess.DEVNULL)
        before = written()
        child = subprocess.Popen([tool, "install", release, "--root", root], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            sys.exit(f"{tool}: install ended with {child.returncode}")
        # What the child and its children wrote is this process's once it has waited for it.
        rows.append((written() - before, usage.ru_maxrss * 1024))
        release.unlink()
    return rows


def main():
    bundle, runtime, tool, *old = sys.argv[1:]
    sizes = [Path(name).stat().st_size for name in (bundle, runtime)]
    print(f"bundle {sizes[0] / 1e6:.1f} MB, program {sizes[1] / 1e6:.1f} MB")
    all_rows = []
    for name in [tool, *old]:
        with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as folder:
            rows = measure(bundle, runtime, name, folder)
        all_rows.append(rows)
        for place, (wrote, memory) in enumerate(rows, 1):
            print(f"{name}: release {place}: {wrote / 1e6:.1f} MB written, {memory / 1e6:.1f} MB of memory at most")
    if old:
        ratios = [new[0] / before[0] for new, before in zip(*all_rows)]
        print("bytes written, new to old: " + ", ".join(f"{ratio:.2f}" for ratio in ratios))
    new = all_rows[0]
    fine = all(memory <= 64e6 for _, memory in new) and all(
        wrote <= sizes[0] + 1e6 + (sizes[1] if place == 0 else 0) for place, (wrote, _) in enumerate(new)
    )
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    main()
