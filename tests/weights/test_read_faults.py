"""Whatever is wrong with a file is one clear WeightsError, and nothing in a file ever runs."""

from __future__ import annotations

import argparse
import io
import json
import os
import pickle
import random
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from resdsl.weights.checkpoint import checkpoint_of, read_checkpoint
from resdsl.weights.errors import WeightsError
from resdsl.weights.pickles import foreign_names
from tests.weights.keras_models import import_keras, save_in_all_formats

# Keras asks torch for arrays the way numpy 1 did.
pytestmark = pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")

STATE = {"conv.weight": torch.randn(4, 3, 3, 3), "fc.weight": torch.randn(2, 4), "fc.bias": torch.randn(2)}


def write_torch(path: Path) -> None:
    torch.save({"state_dict": STATE, "epoch": 1}, path)


def write_older(path: Path) -> None:
    torch.save(STATE, path, _use_new_zipfile_serialization=False)


def write_safetensors(path: Path) -> None:
    save_file(STATE, path)


def write_npz(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, **{name: tensor.numpy() for name, tensor in STATE.items()})  # type: ignore[arg-type]


def write_keras(path: Path) -> None:
    keras = import_keras(path.parent)
    model = keras.Sequential([keras.Input((6, 6, 3)), keras.layers.Conv2D(2, 3), keras.layers.BatchNormalization()])
    ending = ".weights.h5" if path.name.endswith(".weights.h5") else path.suffix
    path.write_bytes(save_in_all_formats(model, path.parent)[ending].read_bytes())


WRITERS: dict[str, Callable[[Path], None]] = {
    "net.pth": write_torch,
    "older.pth": write_older,
    "net.safetensors": write_safetensors,
    "net.npz": write_npz,
    "net.keras": write_keras,
    "net.h5": write_keras,
    "net.weights.h5": write_keras,
}


def refusal(path: Path) -> str:
    with pytest.raises(WeightsError) as found:
        read_checkpoint(path)
    message = str(found.value)
    assert str(path) in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", WRITERS)
def test_cut_short_anywhere(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    WRITERS[name](path)
    whole = path.read_bytes()
    read_checkpoint(path)
    drawn = random.Random(name)
    for length in {
        1,
        2,
        8,
        9,
        40,
        len(whole) // 2,
        len(whole) - 1,
        *(drawn.randrange(1, len(whole)) for _ in range(60)),
    }:
        path.write_bytes(whole[:length])
        message = refusal(path)
        assert "damaged or cut short" in message or "no file of" in message, (length, message)


# Not of bare HDF5 files: its library may go round in circles over changed bytes, and nothing can stop it from here.
@pytest.mark.parametrize("name", [name for name in WRITERS if not name.endswith(".h5")])
def test_changed_bytes_give_weights_or_a_refusal(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    WRITERS[name](path)
    whole = path.read_bytes()
    drawn = random.Random(name)
    for _ in range(60):
        changed = bytearray(whole)
        for _ in range(drawn.randrange(1, 6)):
            changed[drawn.randrange(min(len(changed), 4096))] = drawn.randrange(256)
        path.write_bytes(changed)
        try:
            read_checkpoint(path)
        except WeightsError as error:
            assert "\n" not in str(error)  # noqa: PT017 - either outcome is right


def test_no_file(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "net.pth")


def test_a_folder(tmp_path: Path) -> None:
    assert "is a folder" in refusal(tmp_path)


def test_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pth")
    assert "no regular file" in refusal(tmp_path / "pipe.pth")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("net.tar", b"\0" * 257 + b"ustar\x0000" + bytes(248), "cut short"),
        ("net.pth", b"", "is empty"),
        ("net.png", b"\x89PNG\r\n\x1a\n" + bytes(99), "no file of weights"),
        ("net.pth", b"<!DOCTYPE html><html>not found</html>", "web page"),
        ("net.safetensors", b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        ("net.pth", b"some text\n", "not what its name says"),
        ("net.h5", bytes(2000), "not what its name says"),
        ("net.safetensors", struct.pack("<Q", 1 << 26) + b'{"a":', "damaged or cut short"),
        ("net.keras", b"PK\x05\x06" + bytes(18), "not what its name says"),
    ],
)
def test_another_kind_of_file(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert words in refusal(tmp_path / name)


def test_an_archive_of_something_else(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "net.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert "without weights" in refusal(tmp_path / "net.zip")


# --- pickles -------------------------------------------------------------------------------------------------------


class Wants:
    """Pickles as a call of any function, here one that would leave a file behind."""

    def __init__(self, function: Any, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "older"])
@pytest.mark.parametrize(
    ("function", "text", "named"),
    [
        (eval, "open({!r}, 'w')", "builtins.eval"),
        (exec, "open({!r}, 'w')", "builtins.exec"),
        (os.system, "touch {}", f"{os.name}.system"),
        (os.mkdir, "{}", f"{os.name}.mkdir"),
    ],
)
def test_a_pickle_with_code_is_named_and_not_run(
    tmp_path: Path, function: Any, text: str, named: str, is_zip: bool
) -> None:
    left = tmp_path / "left"
    content = {"state_dict": STATE, "extra": Wants(function, text.format(str(left)))}
    torch.save(content, tmp_path / "net.pth", _use_new_zipfile_serialization=is_zip)
    assert f"wants {named}, not only weights" in refusal(tmp_path / "net.pth")
    assert not left.exists()


@pytest.mark.parametrize("protocol", range(6))
def test_a_plain_pickle_with_code(tmp_path: Path, protocol: int) -> None:
    left = tmp_path / "left"
    (tmp_path / "net.pkl").write_bytes(pickle.dumps({"a": Wants(os.mkdir, str(left))}, protocol))
    message = refusal(tmp_path / "net.pkl")
    assert (f"wants {os.name}.mkdir" in message) == (protocol >= 2)
    assert not left.exists()


def test_all_that_a_pickle_wants() -> None:
    data = pickle.dumps([Wants(eval, "1"), Wants(os.mkdir, "a"), Wants(eval, "2"), torch.Size], 4)
    assert foreign_names(data) == ["builtins.eval", f"{os.name}.mkdir"]


def test_a_whole_module_is_refused(tmp_path: Path) -> None:
    torch.save(nn.Sequential(nn.Linear(2, 2)), tmp_path / "net.pth")
    message = refusal(tmp_path / "net.pth")
    assert "wants torch.nn.modules.container.Sequential" in message
    assert "save the state_dict alone" in message


def test_arguments_of_a_program_are_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": STATE, "args": argparse.Namespace(lr=0.1)}, tmp_path / "net.pth")
    assert "wants argparse.Namespace" in refusal(tmp_path / "net.pth")


def test_a_program_of_torchscript_is_refused(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(nn.Linear(2, 2)), tmp_path / "net.pt")
    assert "TorchScript" in refusal(tmp_path / "net.pt")


# --- values --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_no_numbers(value: float) -> None:
    state = {f"layer{index}.weight": torch.full((2, 2), value if index else 1.0) for index in range(6)}
    with pytest.raises(WeightsError) as found:
        checkpoint_of(state, "net.pth")
    assert str(found.value) == (
        "net.pth holds NaN or infinite weights: layer1.weight, layer2.weight, layer3.weight and 2 more (5 of 6 tensors)"
    )


def test_too_large_for_float32() -> None:
    with pytest.raises(WeightsError, match="NaN or infinite"):
        checkpoint_of({"fc.weight": torch.full((2, 2), 1e300, dtype=torch.float64)})


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (torch.ones(2, 2, dtype=torch.complex64), "complex"),
        (torch.ones(2, 2, dtype=torch.int8), "integers"),
        (torch.ones(2, 2, dtype=torch.bool), "integers"),
        (torch.ones(2, 2, device="meta"), "no values"),
        (torch.ones(2, 2).to_sparse(), "sparse"),
        (torch.ones(1).expand(1000, 1000), "claims 1,000,000 numbers"),
    ],
    ids=["complex", "int8", "bool", "meta", "sparse", "expanded"],
)
def test_tensors_that_are_no_weights(tmp_path: Path, tensor: torch.Tensor, words: str) -> None:
    torch.save({"fc.weight": tensor}, tmp_path / "net.pth")
    message = refusal(tmp_path / "net.pth")
    assert words in message
    assert "fc.weight" in message


@pytest.mark.parametrize("content", [{}, [], 3, {"epoch": 1}, {"state_dict": {}}, torch.ones(3), {1: torch.ones(3)}])
def test_nothing_in_it(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "net.pth")
    assert "holds no weights" in refusal(tmp_path / "net.pth")


def test_nothing_in_the_other_formats(tmp_path: Path) -> None:
    save_file({}, tmp_path / "net.safetensors")
    assert "holds no weights" in refusal(tmp_path / "net.safetensors")
    h5py.File(tmp_path / "net.h5", "w").close()
    assert "holds no weights" in refusal(tmp_path / "net.h5")


def test_a_name_cannot_steer_the_terminal() -> None:
    with pytest.raises(WeightsError) as found:
        checkpoint_of({"fc\x1b[2J.weight": torch.full((2, 2), float("nan"))})
    assert "\x1b" not in str(found.value)


# --- sizes ---------------------------------------------------------------------------------------------------------


def npy(shape: tuple[int, ...], data: bytes = b"") -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"shape": shape, "fortran_order": False, "descr": "<f4"})
    return file.getvalue() + data


def test_an_array_that_claims_too_much(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "net.npz", "w") as archive:
        archive.writestr("fc.weight.npy", npy((1 << 20, 1 << 20)))
    assert "claim to hold" in refusal(tmp_path / "net.npz")


@pytest.mark.parametrize("name", ["net.npz", "net.keras", "net.pth"])
def test_zip_bombs(tmp_path: Path, name: str) -> None:
    members = {"net.npz": "fc.weight.npy", "net.keras": "model.weights.h5", "net.pth": "archive/data/0"}
    with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(members[name], bytes(80 << 20))
        if name == "net.keras":
            archive.writestr("config.json", "{}")
        if name == "net.pth":
            archive.writestr("archive/data.pkl", pickle.dumps({}, 2))
    assert "claim to hold" in refusal(tmp_path / name)


def test_datasets_that_claim_too_much(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "net.h5", "w") as file:
        file.create_dataset("layers/dense/vars/0", (1 << 20, 1 << 20), np.float32, chunks=(1, 1024))
    assert "claim to hold" in refusal(tmp_path / "net.h5")


@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "older"])
def test_a_storage_that_claims_too_much(tmp_path: Path, is_zip: bool) -> None:
    file = io.BytesIO()
    torch.save({"fc.weight": torch.ones(7, 9)}, file, _use_new_zipfile_serialization=is_zip)
    content = file.getvalue()
    if is_zip:
        with zipfile.ZipFile(file) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(tmp_path / "net.pth", "w") as archive:
            for name, data in members.items():
                archive.writestr(name, claim_more(data) if name.endswith("data.pkl") else data)
    else:
        (tmp_path / "net.pth").write_bytes(claim_more(content))
    assert "damaged or cut short" in refusal(tmp_path / "net.pth")


def claim_more(pickled: bytes) -> bytes:
    """A pickle whose storage of 63 numbers is said to have 1.9 million, far more than the file."""
    claimed = pickled.replace(b"K\x3ft", b"J\x3f\x00\x1d\x00t").replace(b"K\x3fN", b"J\x3f\x00\x1d\x00N")
    assert claimed != pickled
    return claimed


def test_a_tar_archive(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "net.tar", "w") as archive:
        archive.add(__file__, "storages")
    assert "is a tar archive" in refusal(tmp_path / "net.tar")


def test_safetensors_that_claim_too_much(tmp_path: Path) -> None:
    header = json.dumps({"fc.weight": {"dtype": "F32", "shape": [1 << 20, 1 << 20], "data_offsets": [0, 1 << 42]}})
    (tmp_path / "net.safetensors").write_bytes(struct.pack("<Q", len(header)) + header.encode())
    assert "damaged or cut short" in refusal(tmp_path / "net.safetensors")


def test_hdf5_takes_nothing_from_other_files(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["secret/vars/0"] = np.ones((2, 2), np.float32)
    (tmp_path / "raw.bin").write_bytes(bytes(16))
    with h5py.File(tmp_path / "linked.h5", "w") as file:
        file["layers"] = h5py.ExternalLink("other.h5", "/secret")
        file["model_weights"] = h5py.ExternalLink("other.h5", "/secret")
    assert "holds no weights" in refusal(tmp_path / "linked.h5")
    with h5py.File(tmp_path / "external.h5", "w") as file:
        file.create_dataset("layers/dense/vars/0", (2, 2), np.float32, external=[(str(tmp_path / "raw.bin"), 0, 16)])
    assert "another file" in refusal(tmp_path / "external.h5")


def test_a_weight_that_changed_on_the_way(tmp_path: Path) -> None:
    """torch.load does not look at checksums."""
    path = tmp_path / "net.pth"
    torch.save({"fc.weight": torch.full((64, 64), 1.5)}, path)
    content = path.read_bytes()
    place = content.index(b"\x00\x00\xc0\x3f" * 8) + 2
    path.write_bytes(content[:place] + b"\x80" + content[place + 1 :])
    with pytest.raises(WeightsError, match=r"damaged: the checksum of .* is wrong"):
        read_checkpoint(path)
