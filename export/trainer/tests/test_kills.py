"""Training that is killed whenever it touches a file of its run: what it had done is kept, and it goes on as if nothing had been."""

import os
import random
import signal
import sys
import traceback

import pytest
import torch

from test_train import PAIRS, losses, start

# What Python tells of before it is done, with the path as the first argument.
TOUCHES = {"open", "os.rename", "os.remove", "os.mkdir", "os.truncate"}


def run_until(recipe, touch: int) -> int:
    """Trains in a process of its own, which is killed before it touches its folder for this time; its status."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    try:
        torch.set_num_threads(1)
        run, touched = start(recipe), 0

        def count(event: str, arguments: tuple) -> None:
            nonlocal touched
            if event in TOUCHES and str(arguments[0]).startswith(str(run.work)):
                touched += 1
                if touched == touch:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        run.follow()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


@pytest.mark.parametrize("seed", [1, 2])
def test_training_that_is_killed_again_and_again_is_the_same_run(recipe, seed):
    whole, killed = (recipe(PAIRS, name=name, save_every=1) for name in ("whole", "killed"))
    assert run_until(whole, 0) == 0
    chosen = random.Random(seed)
    kills = 0
    while (status := run_until(killed, chosen.randint(1, 30))) != 0:
        assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, status
        kills += 1
        assert kills < 60, "it never ends"
    assert kills > 3
    done, again = start(whole), start(killed)
    assert losses(again) == losses(done)
    for folder in (again.work, again.work / "checkpoints"):
        assert not list(folder.glob(".*.new")), folder
