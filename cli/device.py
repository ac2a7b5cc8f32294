"""Options of the commands that compute on a device, and what libraries read from the environment."""

from __future__ import annotations

import argparse
import os

_ENGINES = ("auto", "plain", "graph", "compiled", "fused")  # resdsl.train.fast.ENGINES, which loads torch


def add_device_options(parser: argparse.ArgumentParser) -> None:
    """Declare where steps are computed, and how."""
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="(default: auto)")
    parser.add_argument(
        "--engine",
        choices=_ENGINES,
        default="auto",
        help="steps one by one, or on a GPU as one graph, that of compiled blocks, or with fused kernels, which are "
        "not measured yet (default: the fastest there is but for these)",
    )


def set_up_libraries() -> None:
    """Say to torch, before it is loaded, what it only reads from the environment; what is set there already stays."""
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    # Compiled blocks outlive a restart of the machine here, unlike in torch's own place for them.
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", os.path.join(caches, "resdsl", "inductor"))
    if "OMP_WAIT_POLICY" not in os.environ:
        # Threads that wait for one another soon leave their core to other programs. By default they keep it for so long
        # that a step takes several times its time beside them; alone on the machine the figure makes no difference.
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def let_cublas_repeat() -> None:
    """Else cuBLAS may add up in another order each time; it looks when the process first uses a GPU."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
