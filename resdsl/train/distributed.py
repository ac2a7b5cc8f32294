"""One of several processes that train a network together: which one it is, and what they tell one another.

torchrun starts them and says in the environment who they are. Tensors travel by NCCL on GPUs and by gloo on the CPU;
plain values always by gloo, so that telling them waits for no GPU.
"""

import io
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from resdsl.recipe import Recipe
from resdsl.train.errors import TrainError

_FAILURES = "resdsl/failures"  # counted in the store that torchrun keeps, which outlives the processes
_OF_A_CONNECTION = ("gloo", "NCCL", "Connection reset", "Connection closed", "Broken pipe")


class _Divisible(Protocol):
    def __len__(self) -> int: ...

    def take(self, places: Tensor) -> Self: ...


Images = TypeVar("Images", bound=_Divisible)


@dataclass(frozen=True, slots=True)
class World:
    """A process's place among `size` of them, counted from 0; `local_rank` counts the `local_size` ones of one machine.

    What the processes do together all of them must call, in the same order.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    store: Any = None  # a torch.distributed.Store, a name that not every build of torch has

    @property
    def is_writer(self) -> bool:
        """Whether this is the one process that writes files and talks."""
        return self.rank == 0

    def device(self, chosen: torch.device) -> torch.device:
        """The process's own one of the chosen kind. Raises TrainError where there are fewer GPUs than processes."""
        if self.size == 1 or chosen.type != "cuda":
            return chosen
        if self.local_rank >= (there := torch.cuda.device_count()):
            raise TrainError(
                f"there are more processes than the {there} GPUs here: take --nproc-per-node {there}, or --device cpu"
            )
        torch.cuda.set_device(self.local_rank)
        return torch.device("cuda", self.local_rank)

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum of all processes' tensors; this one's stays as it is."""
        if self.size == 1:
            return tensor
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    def highest(self, value: float) -> float:
        """The largest of all processes' numbers; of truths, whether any is true."""
        if self.size == 1:
            return value
        number = torch.tensor([value], dtype=torch.float64)
        dist.all_reduce(number, dist.ReduceOp.MAX)
        return number.item()

    def gather(self, value: object) -> list[Any]:
        """All processes' values, plain ones or tensors on the CPU, in the order of the processes."""
        if self.size == 1:
            return [value]
        own = _packed(value)
        lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        dist.all_gather(lengths, torch.tensor([len(own)]))
        longest = max(int(length) for length in lengths)
        rows = [torch.empty(longest, dtype=torch.uint8) for _ in range(self.size)]
        dist.all_gather(rows, torch.cat([own, own.new_zeros(longest - len(own))]))
        return [_unpacked(row[: int(length)]) for row, length in zip(rows, lengths, strict=True)]

    def share(self, value: Any) -> Any:
        """The writer's value, a plain one or with tensors on the CPU."""
        if self.size == 1:
            return value
        bytes_ = _packed(value) if self.is_writer else torch.empty(0, dtype=torch.uint8)
        length = torch.tensor([len(bytes_)])
        dist.broadcast(length, 0)
        if not self.is_writer:
            bytes_ = torch.empty(int(length), dtype=torch.uint8)
        dist.broadcast(bytes_, 0)
        return value if self.is_writer else _unpacked(bytes_)

    def copy_from_writer(self, tensors: Iterable[Tensor]) -> None:
        """Let all processes' tensors have the values of the writer's."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    def part_of(self, images: Images) -> Images:
        """The process's images of a set in which each image belongs to one process."""
        if self.size == 1:
            return images
        first, end = (len(images) * rank // self.size for rank in (self.rank, self.rank + 1))
        return images.take(torch.arange(first, end))

    def is_first_to_fail(self) -> bool:
        """Whether no process has asked this before: the one to tell why the run ends."""
        if self.store is None:
            return True
        try:
            return bool(self.store.add(_FAILURES, 1) == 1)
        except RuntimeError:
            return False  # the store is gone with the process that held it, which has failed before


ALONE = World()


@contextmanager
def open_world(environment: Mapping[str, str]) -> Iterator[World]:
    """Join the processes that torchrun has started, by what it has set in the environment.

    Raises TrainError where they cannot be reached.

    All leave it together, unless there is an exception: then this process does not wait for the others.
    """
    try:
        store, rank, size = next(dist.rendezvous("env://"))  # type: ignore[attr-defined]
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=size)
    except (RuntimeError, ValueError) as error:
        where = f"{environment['MASTER_ADDR']}:{environment['MASTER_PORT']}"
        raise TrainError(f"cannot reach the other processes by {where}: {str(error).splitlines()[0]}") from None
    world = World(rank, size, int(environment["LOCAL_RANK"]), int(environment["LOCAL_WORLD_SIZE"]), store)
    yield world
    world.highest(0)  # torchrun ends all when one ends otherwise than well, a stopped run too: the writer must be done
    dist.destroy_process_group()


def tells_of_another(error: BaseException) -> bool:
    """Whether an error only says that another process can no longer be reached."""
    if isinstance(error, dist.DistError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _OF_A_CONNECTION)


def check_batch(recipe: Recipe, world: World) -> None:
    """Raise TrainError where a batch does not fall into equal shares."""
    parts = world.size * recipe.accumulate
    if recipe.batch % parts:
        among = f"{world.size} processes" + (f" and {recipe.accumulate} parts" if recipe.accumulate > 1 else "")
        nearest = max(parts, round(recipe.batch / parts) * parts)
        raise TrainError(
            f"a batch of {recipe.batch} does not fall into equal shares for {among}: --batch {nearest} does"
        )


def _packed(value: object) -> Tensor:
    # Not by pickle, as torch's own gathering of objects does: what is read must not be able to run code.
    file = io.BytesIO()
    torch.save(value, file)
    return torch.frombuffer(bytearray(file.getbuffer()), dtype=torch.uint8)


def _unpacked(packed: Tensor) -> Any:
    return torch.load(io.BytesIO(packed.numpy().tobytes()), map_location="cpu", weights_only=True)
