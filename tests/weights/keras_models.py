"""Small models of Keras on its torch backend, and what they compute."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


def import_keras(home: Path) -> Any:
    """Keras, which reads its settings from the environment when it is first imported."""
    os.environ["KERAS_BACKEND"] = "torch"
    os.environ.setdefault("KERAS_HOME", str(home))
    import keras

    return keras


def small_model(keras: Any) -> Any:
    """Padding layers, a branch, groups, depthwise and separable convolutions, a flattened map."""
    layers = keras.layers
    image = keras.Input((10, 12, 3), name="image")
    x = layers.ZeroPadding2D(((0, 1), (1, 2)), name="pad")(image)
    x = layers.Conv2D(4, 3, strides=2, use_bias=False, name="stem")(x)
    x = layers.BatchNormalization(epsilon=1.001e-5, name="norm_b")(x)
    x = layers.ReLU(name="relu")(x)
    left = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, use_bias=False, name="deep")(x)
    right = layers.Conv2D(8, 1, groups=2, activation="relu", name="grouped")(x)
    x = layers.Add(name="add")([left, right])
    x = layers.BatchNormalization(scale=False, name="norm_a")(x)
    x = layers.SeparableConv2D(5, 3, padding="same", dilation_rate=2, name="apart")(x)
    x = layers.Flatten(name="flat")(x)
    x = layers.Dropout(0.1, name="drop")(x)
    x = layers.Dense(7, activation="softmax", name="top")(x)
    return keras.Model(image, x, name="small")


def save_in_all_formats(model: Any, folder: Path) -> dict[str, Path]:
    """The files that Keras writes for a model, by their endings."""
    paths = {ending: folder / f"model{ending}" for ending in (".keras", ".h5", ".weights.h5")}
    model.save(paths[".keras"])
    model.save(paths[".h5"])
    model.save_weights(paths[".weights.h5"])
    return paths
