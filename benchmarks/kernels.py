"""The fused kernels on a GPU: are they right, and how fast? `python -m benchmarks.kernels [--tune]`, a minute or two.

Each chain of blocks is computed forward and backward by the fused kernels, by eager layers and by Inductor, all under
autocast and replayed from a CUDA graph. Results are compared with float64. With `--tune` other tilings are tried.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from resdsl.train.kernels import tuning
from resdsl.train.kernels.chain import fused_chain
from resdsl.train.kernels.tuning import TILINGS, Tiling

STAGES = ((16, 32), (32, 16), (64, 8))  # filters and side of ResNet-110's maps
# What is tried, field by field, each time with the best found so far of the others.
TRIED: dict[str, tuple[int, ...]] = {
    "pack": (1, 2, 4),
    "tile": (32, 64, 128, 256),
    "warps": (4, 8, 16),
    "stages": (1, 2, 3, 4),
    "rows": (64, 128, 256, 512),
    "row_warps": (4, 8, 16),
    "weight_tile": (32, 64, 128),
    "weight_warps": (4, 8),
    "weight_stages": (1, 2, 3, 4),
}
Step = Callable[[], object]


class Blocks(nn.Module):
    """Basic blocks with identity shortcuts, as cuDNN or Inductor compute them."""

    def __init__(self, filters: int, blocks: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convs = nn.ModuleList(nn.Conv2d(filters, filters, 3, padding=1, bias=False) for _ in range(2 * blocks))
        self.norms = nn.ModuleList(nn.BatchNorm2d(filters) for _ in range(2 * blocks))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same."""
        layers = list(zip(self.convs, self.norms, strict=True))
        for (conv1, norm1), (conv2, norm2) in zip(layers[::2], layers[1::2], strict=True):
            x = functional.relu(norm2(conv2(functional.relu(norm1(conv1(x))))) + x)
        return x


class Case:
    """One stage's chain on the device, with its input and the gradient behind it."""

    def __init__(self, filters: int, side: int, blocks: int, batch: int, device: str) -> None:
        self.blocks = Blocks(filters, blocks).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        generator = torch.Generator().manual_seed(1)
        shape = (batch, filters, side, side)
        x, given = (torch.randn(shape, generator=generator).to(device, torch.bfloat16) for _ in range(2))
        self.x = x.contiguous(memory_format=torch.channels_last)
        self.given = given.contiguous(memory_format=torch.channels_last)

    def layers(self, blocks: nn.Module, x: Tensor) -> Tensor:
        """By the layers, or what was compiled of them."""
        with torch.autocast(x.device.type, torch.bfloat16, enabled=x.dtype == torch.bfloat16, cache_enabled=False):
            result: Tensor = blocks(x)
        return result

    def fused(self, blocks: Blocks, x: Tensor) -> Tensor:
        """By the fused kernels."""
        return fused_chain(x, list(blocks.convs), list(blocks.norms), shortcuts=True)  # type: ignore[arg-type]

    def step(self, compute: Callable[[Any, Tensor], Tensor], blocks: Any) -> Step:
        """Both passes, with new gradients each time."""
        x = self.x.detach().requires_grad_()

        def work() -> None:
            x.grad = None
            blocks.zero_grad(set_to_none=True)
            compute(blocks, x).backward(self.given)  # type: ignore[no-untyped-call]

        return work

    def errors(self) -> tuple[float, float]:
        """The largest relative errors of outputs, gradients and statistics: of the fused kernels, and of autocast."""
        expected = self._results(self.layers, self.blocks, torch.float64)
        found = self._results(self.fused, self.blocks, torch.bfloat16)
        usual = self._results(self.layers, self.blocks, torch.bfloat16)
        return _largest(found, expected), _largest(usual, expected)

    def _results(self, compute: Callable[..., Tensor], blocks: Blocks, dtype: torch.dtype) -> list[Tensor]:
        copy, x = deepcopy(blocks), self.x.to(dtype).detach().requires_grad_()
        if dtype == torch.float64:
            copy = copy.double()
        output = compute(copy, x)
        output.backward(self.given.to(dtype))  # type: ignore[no-untyped-call]
        floating = [buffer for buffer in copy.buffers() if buffer.is_floating_point()]
        gradients = [weight.grad for weight in (x, *copy.parameters()) if weight.grad is not None]
        return [value.detach().double() for value in (output, *gradients, *floating)]


def _largest(found: list[Tensor], expected: list[Tensor]) -> float:
    return max(float((one - two).norm() / two.norm()) for one, two in zip(found, expected, strict=True))


def milliseconds(work: Step, repeats: int = 20) -> float:
    """Of one replay of the work from a CUDA graph, the median of several."""
    if not torch.cuda.is_available():
        start = time.perf_counter()
        work()
        return 1e3 * (time.perf_counter() - start)
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            work()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    times = []
    for _ in range(repeats):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        begin.record()
        for _ in range(5):
            graph.replay()
        end.record()
        torch.cuda.synchronize()
        times.append(float(begin.elapsed_time(end)) / 5)
    return statistics.median(times)


def kernel_times(work: Step) -> Iterator[tuple[str, int, float]]:
    """Each kernel's name, calls and mean microseconds on the device, without what lies between launches."""
    work()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        work()
        torch.cuda.synchronize()
    rows = [row for row in profile.key_averages() if row.device_time_total > 0]
    for row in sorted(rows, key=lambda row: -row.device_time_total):
        yield row.key, row.count, row.device_time_total / row.count


def report(case: Case, name: str) -> None:
    """Print errors and times of one chain."""
    error, usual = case.errors()
    verdict = "right" if error < 1.5 * usual + 0.01 else "WRONG"
    print(f"{name}: {verdict}, largest error {error:.3f}, of autocast {usual:.3f}")
    fused = case.step(case.fused, case.blocks)
    print(f"  fused     {milliseconds(fused):8.3f} ms")
    print(f"  eager     {milliseconds(case.step(case.layers, case.blocks)):8.3f} ms", flush=True)
    if torch.cuda.is_available():
        compiled = torch.compile(case.blocks, dynamic=False)
        print(f"  Inductor  {milliseconds(case.step(case.layers, compiled)):8.3f} ms", flush=True)
        for kernel, calls, mean in kernel_times(fused):
            print(f"    {mean:7.2f} us x {calls:3}  {kernel[:60]}")


def _try(task: tuple[int, int, int, str, Tiling]) -> float:
    """Time of a chain with another tiling; infinity where that does not run. Compiles what is not yet in the cache."""
    from triton.errors import TritonError

    filters, side, batch, device, tiling = task
    TILINGS[filters] = tiling
    try:
        case = Case(filters, side, 2, batch, device)
        return milliseconds(case.step(case.fused, case.blocks), repeats=8)
    except (RuntimeError, ValueError, AssertionError, TritonError) as error:
        print(f"    {tiling}: {type(error).__name__}", flush=True)
        return float("inf")


def _varied(tiling: Tiling, name: str, value: int) -> Tiling:
    """With another value in one field; with other packs the tiles hold as many values as before."""
    if name != "pack":
        return replace(tiling, **{name: value})
    tile, weight_tile = (max(16, old * tiling.pack // value) for old in (tiling.tile, tiling.weight_tile))
    return replace(tiling, pack=value, tile=tile, weight_tile=weight_tile)


def tune(filters: int, side: int, batch: int, device: str, workers: int) -> Tiling:
    """The fastest tiling found field by field; processes side by side compile, then each is timed alone."""
    best = TILINGS[filters]
    least = _try((filters, side, batch, device, best))
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        for name, values in TRIED.items():
            others = [_varied(best, name, value) for value in values if value != getattr(best, name)]
            tasks = [(filters, side, batch, device, tiling) for tiling in others]
            pool.map(_try, tasks, chunksize=1)
            for task in tasks:
                taken = _try(task)
                if taken < 0.99 * least:
                    best, least = task[-1], taken
    TILINGS[filters] = best
    print(f"  {filters}: {best},  # {least:.3f} ms for two blocks", flush=True)
    return best


def main() -> int:
    """Print what was found; exit code 1 where there is nothing to run on."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tune", action="store_true", help="try other tilings first, and print the best")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--blocks", type=int, default=8, help="of each chain")
    parser.add_argument("--filters", type=int, choices=[filters for filters, _ in STAGES], help="this stage alone")
    parser.add_argument("--workers", type=int, default=8, help="processes that compile (with --tune)")
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        import triton

        if not triton.knobs.runtime.interpret:
            print("there is no GPU; TRITON_INTERPRET=1 tries the program itself", file=sys.stderr)
            return 1
    print(torch.cuda.get_device_name() if device == "cuda" else "interpreter: the times tell nothing")
    for filters, side in STAGES:
        if args.filters in (None, filters):
            if args.tune:
                tune(filters, side, args.batch, device, args.workers)
            report(Case(filters, side, args.blocks, args.batch, device), f"{filters} filters, {side} x {side}")
    print(f"{tuning.PROGRAMS} programs, {tuning.WEIGHT_PROGRAMS} for the weights' gradients")
    return 0


if __name__ == "__main__":
    sys.exit(main())
