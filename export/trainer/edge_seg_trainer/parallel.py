"""Several processes on one batch, started by torchrun; one process is the case of a world of one."""

from __future__ import annotations

import os
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor


class DeviceError(RuntimeError):
    """A device that was asked for and is not there."""


def world() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def start(wish: str) -> torch.device:
    """The device of this process; joins the others where torchrun started several.

    `auto` takes a GPU where there is one. A GPU that was asked for by name and is not there is an error.
    """
    if wish not in ("auto", "cpu", "cuda"):
        raise DeviceError(f"device {wish!r}: expected auto, cpu or cuda")
    if wish == "cuda" and not torch.cuda.is_available():
        raise DeviceError("device cuda: expected a GPU that this PyTorch can use, found none")
    on_gpu = wish != "cpu" and torch.cuda.is_available()
    local = int(os.environ.get("LOCAL_RANK", 0))
    if on_gpu:
        torch.cuda.set_device(local)
        torch.backends.cuda.matmul.allow_tf32 = True
    if int(os.environ.get("WORLD_SIZE", 1)) > 1 and not dist.is_initialized():
        # One rank measures between the stages while the others wait.
        dist.init_process_group("nccl" if on_gpu else "gloo", timeout=timedelta(hours=4))
    return torch.device("cuda", local) if on_gpu else torch.device("cpu")


def finish() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def barrier() -> None:
    if world() > 1:
        dist.barrier()


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.rows = len(x)
        parts = [torch.empty_like(x) for _ in range(world())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        gradient = gradient.clone()  # what autograd hands over may be shared
        dist.all_reduce(gradient)
        return gradient[rank() * ctx.rows : (rank() + 1) * ctx.rows]


def gather(x: Tensor) -> Tensor:
    """Every rank's rows in the order of the ranks, [world · rows, ...], with gradient.

    Every rank then computes the same loss over all rows. The gradient that comes back is the sum of the ranks' equal gradients, and the
    mean over the ranks that DistributedDataParallel takes makes it that of one process on the whole batch.
    """
    return _Gather.apply(x) if world() > 1 else x


def joined(values: dict) -> dict:
    """The ranks' entries together."""
    if world() == 1:
        return dict(values)
    every: list[dict] = [{} for _ in range(world())]
    dist.all_gather_object(every, values)
    return {key: value for one in every for key, value in one.items()}


def mean(values: dict[str, float]) -> dict[str, float]:
    """The mean over the ranks."""
    if world() == 1:
        return values
    device = torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")
    joined = torch.tensor([values[name] for name in sorted(values)], dtype=torch.float64, device=device)
    dist.all_reduce(joined)
    return dict(zip(sorted(values), (joined / world()).tolist()))
