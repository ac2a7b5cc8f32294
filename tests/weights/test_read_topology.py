"""Configurations of older versions of Keras, and of no version at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resdsl.weights.checkpoint import read_checkpoint
from resdsl.weights.topology import facts_of, read_topology, weighted_inputs


def layer(name: str, kind: str, inputs: list[str], **settings: Any) -> dict[str, Any]:
    nodes = [[[source, 0, 0, {}] for source in inputs]] if inputs else []
    return {"class_name": kind, "name": name, "config": {"name": name, **settings}, "inbound_nodes": nodes}


def model(*layers: dict[str, Any]) -> dict[str, Any]:
    config = {"layers": list(layers), "output_layers": [[layers[-1]["name"], 0, 0]]}
    return {"class_name": "Model", "config": config}


KERAS_2 = model(
    layer("input_1", "InputLayer", []),
    layer("a", "Conv2D", ["input_1"], strides=[2, 2], padding="same"),
    layer("b", "Conv2D", ["a"], strides=[1, 1], padding="same"),
    layer("add", "Add", ["a", "b"]),
    layer("flatten", "Flatten", ["add"], data_format="channels_last"),
    layer("top", "Dense", ["flatten"], units=2, activation="softmax"),
)


def test_connections_of_keras_2() -> None:
    topology = read_topology(json.dumps(KERAS_2))
    assert topology is not None
    assert weighted_inputs("top", topology, {"a", "b", "top"}) == ("a", "b")


def test_a_file_of_keras_2(tmp_path: Path) -> None:
    shapes = {"a": (3, 3, 1, 2), "b": (3, 3, 2, 2), "top": (8, 2)}
    with h5py.File(tmp_path / "old.h5", "w") as file:
        file.attrs["model_config"] = json.dumps(KERAS_2).encode()
        top = file.create_group("model_weights")
        # Long lists are cut into several attributes.
        top.attrs["layer_names0"] = np.array([b"input_1", b"a"])
        top.attrs["layer_names1"] = np.array([b"b", b"add", b"flatten", b"top"])
        for name in ("input_1", "a", "b", "add", "flatten", "top"):
            group = top.create_group(name)
            written = [f"{name}/kernel:0".encode(), f"{name}/bias:0".encode()] if name in shapes else []
            group.attrs["weight_names"] = np.array(written) if written else np.zeros(0)
            if written:
                group[f"{name}/kernel:0"] = np.ones(shapes[name], np.float32)
                group[f"{name}/bias:0"] = np.ones(2, np.float32)
    checkpoint = read_checkpoint(tmp_path / "old.h5")
    assert [(item.name, item.kind, item.inputs) for item in checkpoint.layers] == [
        ("a", "conv", ()),
        ("b", "conv", ("a",)),
        ("top", "linear", ("a", "b")),
    ]
    assert checkpoint.layers[0].names["weight"] == "model_weights/a/a/kernel:0"
    assert checkpoint.layers[0].facts == {"strides": (2, 2), "padding": "same"}
    # The size of the flattened map is not in such a file.
    assert checkpoint.layers[2].facts == {"activation": "softmax", "flattened": ()}


def test_weights_alone_of_keras_2(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "old_weights.h5", "w") as file:
        file.attrs["layer_names"] = np.array([b"conv1", b"bn_conv1"])
        for name, weights in {"conv1": ["W"], "bn_conv1": ["gamma", "beta", "running_mean", "running_var"]}.items():
            group = file.create_group(name)
            group.attrs["weight_names"] = np.array([f"{name}_{weight}:0".encode() for weight in weights])
            for weight in weights:
                group[f"{name}_{weight}:0"] = np.ones((1, 1, 3, 4) if weight == "W" else 4, np.float32)
    checkpoint = read_checkpoint(tmp_path / "old_weights.h5")
    assert [item.name for item in checkpoint.layers] == ["conv1", "bn_conv1"]
    assert checkpoint.layers[1].kind == "norm"


def test_two_layers_of_one_name_give_no_topology() -> None:
    inner = {**layer("twin", "Functional", ["a"]), "config": model(layer("a", "Conv2D", []))["config"]}
    assert read_topology(json.dumps(model(layer("a", "Conv2D", []), inner))) is None


def test_layers_that_feed_each_other() -> None:
    circle = model(layer("a", "Add", ["b"]), layer("b", "Add", ["a"]), layer("c", "Dense", ["b"], units=1))
    topology = read_topology(json.dumps(circle))
    assert topology is not None
    assert weighted_inputs("c", topology, {"c"}) == ()
    assert facts_of("c", topology) == {}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["a", "b", "layers", "Flatten", "Sequential"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["layers", "config", "name", "class_name", "inbound_nodes", "output_layers", "units", "padding"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(st.lists(JSON, max_size=4))
def test_any_configuration_is_taken_or_left(layers: list[Any]) -> None:
    config = {"class_name": "Model", "config": {"layers": layers}}
    topology = read_topology(json.dumps(config))
    for name in topology.order if topology else ():
        assert topology is not None
        weighted_inputs(name, topology, {"a"})
        facts_of(name, topology)


@pytest.mark.parametrize("text", ["[]", "{}", "1", '{"config": 3}', '{"config": {"layers": 3}}'])
def test_no_configuration(text: str) -> None:
    assert read_topology(text) is None
