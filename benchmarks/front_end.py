"""Checking: start-up, depth, growth, memory."""

from __future__ import annotations

import os
import sys
import tempfile

from benchmarks.measure import Ratio, compare, peak_megabytes, process_seconds, seconds

SPECS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "specs")
CHECK = (sys.executable, "-m", "resdsl", "check", "--quiet")
MEMORY_LIMIT = 60.0


def cifar_spec(folder: str, n: int) -> str:
    """A file with the CIFAR net of 6n + 2 layers."""
    path = os.path.join(folder, f"resnet{6 * n + 2}.res")
    with open(path, "w", encoding="utf-8") as file:
        file.write(f'use "families/resnet_cifar.res"\nnetwork resnet{6 * n + 2} = resnet_cifar(n = {n})\n')
    return path


def measure_front_end(rounds: int) -> list[Ratio]:
    """All ratios of the front end; memory is given as MiB over MiB of the limit."""
    with tempfile.TemporaryDirectory() as folder:
        shallow, deep, deepest = (cifar_spec(folder, n) for n in (3, 200, 2000))
        spec = os.path.join(SPECS, "resnet34.res")
        return [
            compare(
                "`resdsl check specs/resnet34.res` over `python -c 'import lark'`, whole process",
                lambda: process_seconds(*CHECK, spec),
                lambda: process_seconds(sys.executable, "-c", "import lark"),
                rounds=rounds,
                limit=2.0,
            ),
            compare(
                "check of ResNet-1202 over check of ResNet-20, whole process",
                lambda: process_seconds(*CHECK, deep),
                lambda: process_seconds(*CHECK, shallow),
                rounds=rounds,
                limit=1.5,
            ),
            compare(
                "checking and lowering 12,002 layers over 1,202, divided by the ratio of layers",
                lambda: seconds(lambda: _check_and_lower(deepest)),
                lambda: seconds(lambda: _check_and_lower(deep)),
                rounds=rounds,
                limit=1.0,
                divide=12_002 / 1_202,
            ),
            compare(
                "`resdsl check specs/`: every network, family and library file in one process, over 1 s",
                lambda: process_seconds(*CHECK, SPECS),
                lambda: 1.0,
                rounds=rounds,
                limit=1.0,
            ),
            compare(
                "memory of checking ResNet-1202 over an interpreter with lark, in units of 60 MiB",
                lambda: _extra_memory(deep),
                lambda: MEMORY_LIMIT,
                rounds=3,
                limit=1.0,
                unit="MiB",
                scale=1.0,
            ),
        ]


def _check_and_lower(path: str) -> object:
    import resdsl

    return resdsl.load(path).flat


def _extra_memory(path: str) -> float:
    code = f"import resdsl; assert not resdsl.check_file({path!r}).diagnostics"
    return peak_megabytes(code) - peak_megabytes("import lark")
