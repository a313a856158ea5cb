"""Threads, forks, signals, the end of the interpreter."""

import asyncio
import copy
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from conftest import CAT, PICTURES, WORDS
from numpy.typing import NDArray

import edge_seg

ALL = sorted(PICTURES.glob("*.jpg"))


def test_threads_share_a_model(model: edge_seg.Model) -> None:
    words = model.words(WORDS)
    expected = {path: model.segment(path, words).labels for path in ALL}
    with ThreadPoolExecutor(8) as pool:
        for path, found in zip(ALL * 8, pool.map(model.segment, ALL * 8, [words] * len(ALL * 8)), strict=True):
            assert (found.labels == expected[path]).all()


def test_the_interpreter_is_let_go_while_computing(cat: NDArray[np.uint8]) -> None:
    model = edge_seg.Model(size=448, threads=1)
    words = model.words("cat")
    ticks, done = 0, threading.Event()

    def work() -> None:
        for _ in range(3):
            model.segment(cat, words)
        done.set()

    # The interpreter would be handed on after this at the latest, if it were held.
    sys.setswitchinterval(1000)
    try:
        thread = threading.Thread(target=work)
        thread.start()
        while not done.is_set():
            ticks += 1
            time.sleep(0.001)
        thread.join()
    finally:
        sys.setswitchinterval(0.005)
    assert ticks > 10


def in_child(code: str, timeout: float = 60) -> tuple[int, str]:
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=timeout)
    return child.returncode, child.stdout + child.stderr


FORK = f"""
import os, sys, edge_seg
model = edge_seg.Model(size=64)
words = model.words("cat")
encoded = model.encode({str(CAT)!r})
found = model.segment({str(CAT)!r}, words)
live = edge_seg.Live(model, "test:?size=64x48&fps=1000", words)
next(live)
child = os.fork()
if child == 0:
    said = []
    for call in (lambda: model.segment({str(CAT)!r}, words), lambda: encoded.segment(words), lambda: next(live), live.stop,
                 lambda: edge_seg.Live(edge_seg.Model(size=64), "test:?size=64x48", "cat")):
        try:
            call()
            said.append("nothing")
        except edge_seg.ForkedError as error:
            assert "spawn" in str(error)
    assert said == [], said
    assert found.mask("cat").any(), "what was found is data"
    again = edge_seg.Model(size=64).segment({str(CAT)!r}, "cat")
    assert (again.labels == found.labels).all()
    del live
    os._exit(0)
_, status = os.waitpid(child, 0)
live.stop()
sys.exit(os.waitstatus_to_exitcode(status))
"""


def test_a_forked_child_is_told_and_can_begin_anew() -> None:
    code, said = in_child(FORK)
    assert code == 0, said


# The engine makes plans on threads while the process forks, and in its children.
PLANS = f"""
import itertools, os, threading, time
import edge_seg
def plans(sizes):
    for size in itertools.cycle(sizes):
        edge_seg.Model(size=size, threads=1).segment({str(CAT)!r}, "cat")
for start in range(4):
    threading.Thread(target=plans, args=(range(64 + 16 * start, 160, 16),), daemon=True).start()
time.sleep(0.5)
for attempt in range(40):
    time.sleep(0.01 + 0.007 * attempt)
    child = os.fork()
    if child == 0:
        edge_seg.Model(size=64, threads=1).segment({str(CAT)!r}, "cat")
        os._exit(0)
    end = time.monotonic() + 60
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > end:
            os.kill(child, 9)
            print("a child hangs", flush=True)
            os._exit(1)
        time.sleep(0.01)
assert "RUST_LIB_BACKTRACE" not in os.environ
os._exit(0)
"""


def test_a_fork_leaves_no_lock_of_backtraces_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUST_BACKTRACE", "1")
    monkeypatch.delenv("RUST_LIB_BACKTRACE", raising=False)
    code, said = in_child(PLANS, timeout=600)
    assert code == 0, said


def test_an_interpreter_inside_another_is_told() -> None:
    code, said = in_child("""
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
interpreters.run_string(interpreters.create(), '''
try:
    import edge_seg
except ImportError as error:
    print(error)
''')
""")
    # Later CPythons refuse it by themselves.
    assert code == 0 and said.count("\n") == 1 and "subinterpreter" in said, said


def find_cat(path: Path) -> int:
    return edge_seg.Model(size=64).segment(path, "cat")["cat"].area


def test_spawned_workers_load_their_own() -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        areas = pool.map(find_cat, [CAT, CAT])
    assert areas[0] == areas[1] == find_cat(CAT)


WAITING = {
    "live": "live = edge_seg.Live(model, 'mjpeg:{fifo}', 'cat')\nprint('ready', flush=True)\nnext(live)",
    "source": "source = edge_seg.Source('mjpeg:{fifo}')\nprint('ready', flush=True)\nnext(source)",
}


@pytest.mark.parametrize("what", WAITING)
def test_ctrl_c_ends_a_wait_for_frames(what: str, tmp_path: Path) -> None:
    fifo = tmp_path / "camera"
    os.mkfifo(fifo)
    code = "import edge_seg\nmodel = edge_seg.Model(size=64)\ntry:\n    " + WAITING[what].format(fifo=fifo).replace("\n", "\n    ")
    code += "\nexcept KeyboardInterrupt:\n    print('interrupted', flush=True)\n    import os; os._exit(3)"
    # Somebody must write to the pipe, or opening it is what waits.
    writer = os.open(fifo, os.O_RDWR)
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert child.stdout is not None and child.stdout.readline() == "ready\n"
    time.sleep(0.3)
    child.send_signal(signal.SIGINT)
    said, _ = child.communicate(timeout=30)
    os.close(writer)
    assert (child.returncode, said) == (3, "interrupted\n")


OPENING = {
    "live": "list(edge_seg.Live(model, 'mjpeg:{fifo}', 'cat'))",
    "source": "list(edge_seg.Source('mjpeg:{fifo}'))",
}


@pytest.mark.parametrize("what", OPENING)
def test_ctrl_c_ends_a_wait_for_somebody_who_writes(what: str, tmp_path: Path) -> None:
    fifo = tmp_path / "camera"
    os.mkfifo(fifo)
    code = "import edge_seg\nmodel = edge_seg.Model(size=64)\nprint('ready', flush=True)\ntry:\n    " + OPENING[what].format(fifo=fifo)
    code += "\nexcept KeyboardInterrupt:\n    print('interrupted', flush=True)\n    import os; os._exit(3)"
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert child.stdout is not None and child.stdout.readline() == "ready\n"
    time.sleep(0.5)
    child.send_signal(signal.SIGINT)
    said, _ = child.communicate(timeout=30)
    assert (child.returncode, said) == (3, "interrupted\n")


def test_what_has_threads_is_not_copied(model: edge_seg.Model) -> None:
    found = model.segment(CAT, "cat")
    for held in (model, model.words("cat"), model.encode(CAT), found, found["cat"], edge_seg.Rules("")):
        for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="cannot pickle"):
                attempt(held)


def test_an_event_loop_goes_on_meanwhile(model: edge_seg.Model) -> None:
    async def both() -> tuple[int, int]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.001)

        ticking = asyncio.create_task(tick())
        areas = [(await asyncio.to_thread(model.segment, CAT, "cat"))["cat"].area for _ in range(3)]
        ticking.cancel()
        return ticks, areas[0]

    ticks, area = asyncio.run(both())
    assert ticks > 3 and area == model.segment(CAT, "cat")["cat"].area


LEFT = """
import itertools, edge_seg, numpy
model = edge_seg.Model(size=64)
picture = numpy.zeros((48, 64, 3), numpy.uint8)
sessions = [edge_seg.Live(model, itertools.repeat(picture), "cat", pace="live") for _ in range(4)]
source = edge_seg.Source("test:?size=64x48&fps=100")
[next(live) for live in sessions], next(source)
print("end")
"""


@pytest.mark.parametrize("_again", range(5))
def test_an_interpreter_ends_with_sessions_still_running(_again: int) -> None:
    """Their threads ask iterators for pictures all the time, so some are on their way into the interpreter when it ends."""
    assert in_child(LEFT) == (0, "end\n")


# Each is inside Python's own code, on a thread that is not the main one, when the interpreter ends, and comes back to it meanwhile.
INSIDE = {
    "waits for ever": "threading.Event().wait()",
    "sleeps": "time.sleep(1.2)",
    "sleeps longer than anybody waits": "time.sleep(60)",
    "works": "sum(range(1000))",
    "waits for a queue": "queue.Queue().get()",
    "looks at a queue now and then": "try: queue.Queue().get(timeout=1.1)\n        except queue.Empty: pass",
    "gives pictures": "yield picture",
    "gives what becomes a picture in Python": "yield image",
}

ENDS = f"""
import os, queue, sys, tempfile, threading, time
import edge_seg, numpy
from PIL import Image
model = edge_seg.Model(size=64)
picture = numpy.zeros((48, 64, 3), numpy.uint8)
image = Image.fromarray(numpy.zeros((48, 64), numpy.uint8))
inside = threading.Event()
# The end takes a while in which threads can come back.
class Last:
    def __del__(self, sleep=time.sleep):
        sleep(1.5)
last = Last()
"""


@pytest.mark.parametrize("what", INSIDE)
def test_an_interpreter_ends_though_an_iterator_is_inside_it(what: str) -> None:
    code = f"""{ENDS}
def camera():
    yield picture
    inside.set()
    while True:
        {INSIDE[what]}
live = edge_seg.Live(model, camera(), "cat")
next(live)
inside.wait()
print("end", flush=True)
"""
    started = time.monotonic()
    assert in_child(code) == (0, "end\n")
    assert time.monotonic() - started < 30


CALLED = {
    "label": "edge_seg.label({pictures!r}, 'cat', tempfile.mkdtemp(), model=model, progress=told)",
    "words": "model.words(name for name in iter(lambda: told(0, 0), None))",
    "segment": "model.segment(Slow(), 'cat')",
}


@pytest.mark.parametrize("what", CALLED)
@pytest.mark.parametrize("how", ["sleeps", "sleeps longer than anybody waits", "works", "waits for a queue"])
def test_an_interpreter_ends_though_a_daemon_thread_is_inside_what_was_called(what: str, how: str) -> None:
    code = f"""{ENDS}
def told(done, total):
    inside.set()
    while True:
        {INSIDE[how]}
class Slow:
    def __array__(self, dtype=None, copy=None):
        told(0, 0)
threading.Thread(target=lambda: {CALLED[what].format(pictures=str(PICTURES))}, daemon=True).start()
inside.wait()
print("end", flush=True)
"""
    assert in_child(code) == (0, "end\n")


def test_an_abandoned_session_lets_its_iterator_go(model: edge_seg.Model) -> None:
    closed = threading.Event()

    def camera() -> Iterator[NDArray[np.uint8]]:
        try:
            while True:
                yield np.zeros((48, 64, 3), np.uint8)
        finally:
            closed.set()

    live = edge_seg.Live(model, camera(), "cat")
    next(live)
    started = time.monotonic()
    del live
    assert time.monotonic() - started < 1.5, "nobody waits for the interpreter while holding it"
    assert closed.wait(5)


def test_the_same_labels_as_the_program(tmp_path: Path) -> None:
    """The program and the package are the same library: each pixel is the same."""
    from PIL import Image

    program = os.environ.get("EDGE_SEG_PROGRAM")
    if program is None:
        assert os.environ.get("EDGE_SEG_TESTS_REQUIRE") != "all", "EDGE_SEG_PROGRAM names the program"
        pytest.skip("EDGE_SEG_PROGRAM names no edge-seg")
    # The program moves borders to the picture's edges where nothing else is said.
    model = edge_seg.Model(refine=True)
    for path in ALL:
        subprocess.run([program, "segment", path, "--tags", "cat, wall, person, cup", "--out", tmp_path], check=True, capture_output=True)
        expected = np.asarray(Image.open(tmp_path / f"{path.stem}.mask.png"))
        assert (model.segment(path, "cat, wall, person, cup").labels == expected).all()


def test_a_daemon_thread_inside_a_call_does_not_outlast_the_interpreter() -> None:
    code = f"""
import threading, time, edge_seg
model = edge_seg.Model(size=64, threads=1)
picture = edge_seg.read_picture({str(CAT)!r})
def work():
    while True:
        model.segment(picture, "cat")
threading.Thread(target=work, daemon=True).start()
time.sleep(0.3)
"""
    for _ in range(6):
        ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
        assert (ended.returncode, ended.stderr) == (0, "")


def test_a_picture_that_memory_does_not_hold_is_an_error() -> None:
    # As long views as any, of one byte: a map of a large file looks like that.
    code, said = in_child("""
import resource
import numpy as np
import edge_seg
model = edge_seg.Model(size=64, threads=1)
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
for order in ("rgb", "bgr"):
    try:
        model.segment(np.broadcast_to(np.uint8(0), (50000, 50000, 3)), "cat", order=order)
    except MemoryError as error:
        print(error)
""")
    assert code == 0 and said.count("expected room for 7500000000 bytes of 50000×50000 pixels") == 2, said
