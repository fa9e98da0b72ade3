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
# # Exercise 1: inference with a trained network
#
# In example 1 you trained a network and saved its weights. Somebody hands you `flowers.csv`: 30 flowers without their species.
# Name them. To do this you read in the features, feed them forward through the network, and parse the results.

# %% [markdown] tags=["template"]
# There are three gaps, marked `...`. The cell below each gap checks it and tells you what is not right yet. There is more than one
# good answer to each.

# %% [markdown] tags=["solution"]
# **Solved.** This is one good solution; at the end it says why it is not the only one.

# %%
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from workshop import checks

# %% [markdown]
# The network has to be written down again, as it was when it was trained: the file holds the weights alone.


# %%
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(4))
        self.register_buffer("scale", torch.ones(4))
        self.hidden = nn.Linear(4, 16)
        self.output = nn.Linear(16, 3)

    def forward(self, x):
        x = (x - self.mean) / self.scale
        return self.output(F.relu(self.hidden(x)))


saved = Path("../example1/net.pt")
checks.there(saved)
net = Net()
net.load_state_dict(torch.load(saved, weights_only=True))
net.eval()

# %% [markdown]
# ## Read in the features
#
# Make `features`: a tensor of 32-bit floats, a row for each flower, and in each row sepal length, sepal width, petal length, petal
# width, in this order, in cm. That was the order in training. Look at the file first: its columns stand in another order, and not
# all of them are measurements. `pandas.read_csv`, `numpy.loadtxt` or the `csv` module all do.

# %%
print(*Path("flowers.csv").read_text().splitlines()[:4], sep="\n")

# %% [markdown] tags=["solution"]
# The columns are asked for by name, and in the order of the training.

# %% tags=["gap"]
# GAP 1: read flowers.csv into a tensor
# gap: features = ...
import pandas as pd

columns = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
features = torch.tensor(pd.read_csv("flowers.csv")[columns].to_numpy(), dtype=torch.float32)
# end of gap

# %%
checks.features(features)

# %% [markdown]
# ## Feed them forward
#
# Make `logits`: what the network says of these flowers, three numbers each. You need no gradients for that.

# %% [markdown] tags=["solution"]
# `torch.inference_mode()` keeps no gradients, which saves memory and time.

# %% tags=["gap"]
# GAP 2: feed the features forward through the network
# gap: logits = ...
with torch.inference_mode():
    logits = net(features)
# end of gap

# %%
checks.logits(logits, net)

# %% [markdown]
# ## Parse the results
#
# Make `names`: a list of 30 species as text. The network was taught 0 for setosa, 1 for versicolor and 2 for virginica.

# %% [markdown] tags=["solution"]
# The largest of the three logits of each flower, so along dimension 1.

# %% tags=["gap"]
# GAP 3: parse the results to species names
# gap: names = ...
species = ["setosa", "versicolor", "virginica"]
names = [species[code] for code in logits.argmax(dim=1).tolist()]
# end of gap

# %%
checks.names(names, net)

# %% tags=["solution"]
for name, row in list(zip(names, features.tolist()))[:5]:
    print(f"{name:11}", row)

# %% [markdown] tags=["solution"]
# ## Why it is not the only solution
#
# **How sure is it?** Softmax makes probabilities of the logits. The largest stays the largest, so for the names alone nobody
# needs it.

# %% tags=["solution"]
probabilities = logits.softmax(dim=1)
print([f"{share:.3f}" for share in probabilities[0].tolist()], "sum to", round(probabilities[0].sum().item(), 3))

# %% [markdown] tags=["solution"]
# **One by one, or all at once?** A loop over the flowers gives the same names. It pays for each call what a batch pays once; the
# report of irisbench calls the two `predict` and `predict one`. A web page that asks about one flower cannot wait for a batch.

# %% tags=["solution"]
import timeit

with torch.inference_mode():
    one_by_one = torch.stack([net(flower) for flower in features])
    assert torch.allclose(one_by_one, logits, atol=1e-5)
    many = features.repeat(1000, 1)
    at_once = min(timeit.repeat(lambda: net(many), number=10, repeat=10)) / 10 / len(many)
    single = min(timeit.repeat(lambda: net(features[0]), number=100, repeat=10)) / 100
print(f"a flower takes {single * 1e6:.1f} µs when it is alone, and {at_once * 1e6:.3f} µs among {len(many):,}")

# %% [markdown] tags=["solution"]
# **More flowers than memory?** Batches again: read some rows, name them, write them down, forget them. That is what
# `python -m adapters predict` does with a file of any size.
#
# **Which file?** `net.pt` holds the weights and needs the class beside it. `torch.export` would save the computation too. A file
# that was *pickled* whole, as `torch.save(net)` would, runs whatever code it holds when it is loaded: do not take one from people
# you do not know, and load with `weights_only=True`.
#
# **In another framework?** irisbench puts all of them behind the same few methods. This is the same inference, with the network
# of the adapter for PyTorch; change the name, and it is scikit-learn's or Spark's.

# %% tags=["solution"]
import tempfile

from adapters import registry
from adapters.base import Resources
from datasets import store
from datasets.flowers import SPECIES, real_flowers

with tempfile.TemporaryDirectory() as folder, registry.FRAMEWORKS["pytorch-cpu"].create() as adapter:
    adapter.start(Resources(threads=2, memory_bytes=2**30, folder=Path(folder)))
    store.write(Path(folder) / "train.parquet", *real_flowers())
    store.write(Path(folder) / "new.parquet", features.numpy(), None)
    model = adapter.train(adapter.load(Path(folder) / "train.parquet"), adapter.recipe("mlp", 150), seed=0)
    codes = adapter.predict(model, adapter.load(Path(folder) / "new.parquet"))
    first = adapter.predict_one(model, features[0].numpy())

same = sum(SPECIES[code] == name for code, name in zip(codes, names))
print(f"the adapter's own network gives {same} of {len(names)} flowers the same name; the first is {SPECIES[first]}")
