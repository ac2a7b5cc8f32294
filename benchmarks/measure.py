"""Timing two things in turn, and saying how they compare."""

from __future__ import annotations

import gc
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ratio:
    """How one thing compares with its yardstick: medians of both, median and quartiles of the ratios of all rounds."""

    name: str
    unit: str
    ours: float
    yardstick: float
    median: float
    quartiles: tuple[float, float]
    rounds: int
    limit: float
    at_least: bool = False

    @property
    def is_met(self) -> bool:
        """Whether the median is within the limit."""
        return self.median >= self.limit if self.at_least else self.median <= self.limit

    def row(self) -> str:
        """One row of the Markdown table."""
        spread = f"{self.quartiles[0]:.2f} to {self.quartiles[1]:.2f}"
        limit = f"at {'least' if self.at_least else 'most'} {self.limit:g}"
        return (
            f"| {self.name} | {self.ours:.1f} {self.unit} | {self.yardstick:.1f} {self.unit} | **{self.median:.2f}** "
            f"| {spread} | {self.rounds} | {limit} | {'yes' if self.is_met else 'no'} |"
        )


HEADER = (
    "| what | ours | yardstick | ratio, median | quartiles | rounds | must reach | met |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- |"
)


def compare(
    name: str,
    ours: Callable[[], float],
    yardstick: Callable[[], float],
    *,
    rounds: int,
    limit: float,
    at_least: bool = False,
    unit: str = "ms",
    scale: float = 1000.0,
    divide: float = 1.0,
) -> Ratio:
    """Measure both in turn, `rounds` times after one round of warm-up; ratios are divided by `divide`."""
    ours(), yardstick()
    pairs = [(ours(), yardstick()) for _ in range(rounds)]
    ratios = [a / b / divide for a, b in pairs]
    low, _, high = statistics.quantiles(ratios, n=4)
    return Ratio(
        name,
        unit,
        statistics.median(a for a, _ in pairs) * scale,
        statistics.median(b for _, b in pairs) * scale,
        statistics.median(ratios),
        (low, high),
        rounds,
        limit,
        at_least,
    )


def seconds(action: Callable[[], object]) -> float:
    """Wall time of an action; what it gives is dropped, and earlier garbage collected, outside the time."""
    gc.collect()
    start = time.perf_counter()
    result = action()
    elapsed = time.perf_counter() - start
    del result
    return elapsed


def process_seconds(*command: str) -> float:
    """Wall time of a whole process, start to end."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=user_environment())
    return time.perf_counter() - start


def peak_megabytes(code: str) -> float:
    """Largest resident memory of a fresh interpreter that runs some code, in MiB."""
    # The high-water mark of this program image: rusage would count the memory of the process that started it.
    report = "; print([line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')][0])"
    done = subprocess.run(
        [sys.executable, "-c", code + report], check=True, capture_output=True, text=True, env=user_environment()
    )
    return int(done.stdout.split()[-1]) / 1024


def user_environment() -> dict[str, str]:
    """The environment as a user has it: Python may keep the compiled form of modules."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def machine() -> str:
    """Processor, cores and versions, for the head of a table."""
    import torch
    import torchvision

    processor = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
        processor = names[0] if names else processor
    except OSError:
        pass
    versions = f"Python {platform.python_version()}, torch {torch.__version__}, torchvision {torchvision.__version__}"
    return f"{processor}, {os.cpu_count()} cores; {versions}"
