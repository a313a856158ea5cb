"""Runs `edge-seg` on an RTSP camera for a while, over a bad network if one is asked for, and tells frames, breaks and memory.

usage: rtsp_soak.py EDGE_SEG SECONDS tcp|udp own|ffmpeg [OPTION OF bad_network.py ...]

Needs ffmpeg and GStreamer's RTSP server (python3-gi, gir1.2-gst-rtsp-server-1.0). One line of JSON: frames that were segmented and left out,
breaks of the connection, damaged pictures, the longest time without a frame; memory of the program and of its children, open files and
threads: after a fifth of the time, and at the end. Exit 1 if memory grew by more than 10 MB after that fifth, files or threads by more
than 4, or nothing came in the last fifth.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).parent


def started(script, *arguments):
    """A script that listens, and its port."""
    command = ["/usr/bin/python3", str(HERE / script), "0", *arguments]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    ready = child.stdout.readline().split()
    assert ready[:1] == ["ready"], f"{script} does not start"
    return child, ready[1]


def field(pid, name):
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(rf"{name}:\s+(\d+)", text).group(1))


def sample(pid):
    children = subprocess.run(["pgrep", "-P", str(pid)], stdout=subprocess.PIPE, text=True, check=False).stdout.split()
    memory = []
    for child in children:
        try:
            memory.append(field(child, "VmRSS"))
        except (OSError, AttributeError):  # it has just ended
            pass
    return {
        "memory_mb": round(field(pid, "VmRSS") / 1024, 1),
        "children_mb": round(sum(memory) / 1024, 1),
        "files": len(os.listdir(f"/proc/{pid}/fd")),
        "threads": field(pid, "Threads"),
    }


def main(program, seconds, transport, decoder, *network):
    seconds = float(seconds)
    with tempfile.TemporaryDirectory() as folder:
        film = f"{folder}/film.mp4"
        encode = ["-c:v", "libx264", "-preset", "veryfast", "-g", "30", "-x264-params", "slices=3:bframes=2"]
        source = ["-f", "lavfi", "-i", "testsrc2=s=320x240:r=15,noise=alls=8:allf=t", "-t", "120"]
        subprocess.run(["ffmpeg", "-v", "error", "-nostdin", *source, *encode, film], check=True)
        server, port = started("rtsp_server.py", film, *(["udp"] if transport == "udp" else []))
        servers = [server]
        if network:
            server, port = started("bad_network.py", port, *network)
            servers.append(server)
        command = [program, "run", "--source", f"rtsp://127.0.0.1:{port}/test", "--decoder", decoder, "--stall", "3"]
        run = subprocess.Popen([*command, "--tags", "wall", "--size", "64"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        said, times, last = [], [], {}

        def frames():
            for line in run.stdout:
                times.append(time.monotonic())
                last.update(json.loads(line))

        readers = [threading.Thread(target=frames), threading.Thread(target=lambda: said.extend(run.stderr))]
        for reader in readers:
            reader.start()
        begin, samples = time.monotonic(), []
        while time.monotonic() - begin < seconds and run.poll() is None:
            time.sleep(1)
            samples.append(sample(run.pid))
        run.terminate()
        run.wait()
        for reader in readers:
            reader.join()
        for server in servers:
            server.kill()
    early, late = samples[len(samples) // 5], samples[-1]
    gaps = [b - a for a, b in zip(times, times[1:])]
    told = {
        "seconds": round(time.monotonic() - begin),
        "frames": len(times),
        "dropped": last.get("dropped"),
        "numbers": last.get("sequence", -1) + 1,
        "breaks": sum("opening it again" in line for line in said),
        "damaged": max([int(n) for line in said for n in re.findall(r"\((\d+) so far\)", line)], default=0),
        "panics": sum("panicked" in line for line in said),
        "longest_gap_s": round(max(gaps, default=seconds), 1),
        "early": early,
        "late": late,
        "most_memory_mb": max(s["memory_mb"] for s in samples),
    }
    print(json.dumps(told))
    reasons = sorted({re.sub(r"[0-9]+", "N", line.strip())[:160] for line in said if "warning" in line})
    print("\n".join(reasons[:12]), file=sys.stderr)
    grew = late["memory_mb"] - early["memory_mb"] > 10 or late["files"] - early["files"] > 4 or late["threads"] - early["threads"] > 4
    quiet = not times or times[-1] < begin + seconds * 0.8
    return 1 if grew or quiet else 0


if __name__ == "__main__":
    if len(sys.argv) < 5:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    sys.exit(main(*sys.argv[1:]))
