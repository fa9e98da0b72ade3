# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3 (irisbench)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The same refactoring in TensorFlow
#
# The network of example 1, in Keras: train, save, restore, infer. Keras stands between scikit-learn and PyTorch: you write the
# layers down, and `fit` is there for you.
#
# | | PyTorch | TensorFlow (Keras) |
# |---|---|---|
# | the network | a class with `forward` | a list of layers |
# | scaling | a buffer of your own | a layer, `Normalization`, that is adapted to the data |
# | the training loop | you write it | `compile` and `fit`; `tf.function` if you write it yourself |
# | how it runs | line by line, as Python does | traced once into a graph, and then run from it |
# | gradients | on tensors that ask for them | on a `GradientTape`, which `fit` keeps for you |
# | what is saved | the weights; the class must be there | network and weights together, `.keras` |
# | loading a foreign file | `weights_only=True` | `safe_mode=True`: no code from the file |

# %% [markdown]
# Where there is no GPU, TensorFlow says in red that it found none (`cuInit`). Here nobody needs one.

# %%
import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"

import keras
import numpy as np

from datasets.flowers import SPECIES, real_flowers

keras.utils.set_random_seed(0)
features, species = real_flowers()

# %% [markdown]
# ## Train

# %%
scaling = keras.layers.Normalization()
scaling.adapt(features)
network = keras.Sequential(
    [keras.Input((4,)), scaling, keras.layers.Dense(16, activation="relu"), keras.layers.Dense(3)]
)
network.compile(
    optimizer=keras.optimizers.Adam(0.02),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
history = network.fit(features, species, batch_size=16, epochs=60, verbose=0)
print(f"loss {history.history['loss'][0]:.3f} at first, {history.history['loss'][-1]:.3f} at last")

# %% [markdown]
# `from_logits=True` matters: without it Keras takes the numbers of the last layer for probabilities, and learns badly without
# saying a word. PyTorch's `cross_entropy` always wants logits.
#
# ## Save and restore

# %%
network.save("iris.keras")
restored = keras.models.load_model("iris.keras", safe_mode=True)
assert np.allclose(restored(features), network(features), atol=1e-6)

# %% [markdown]
# ## Infer
#
# `network.predict` is made for many rows: for one it takes milliseconds. Calling the network itself is faster, and a concrete
# `tf.function` faster still.

# %%
codes = np.asarray(restored(features)).argmax(axis=1)
accuracy = float((codes == species).mean())
print(f"{accuracy:.3f} of the flowers that it has learned are named rightly; the first is {SPECIES[codes[0]]}")
