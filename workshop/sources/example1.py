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
# # Example 1: the same classifier in scikit-learn and in PyTorch
#
# Three species of iris, four measurements, 150 flowers that R. A. Fisher published in 1936. First you train scikit-learn's
# neural network on them, then you build the same network yourself in PyTorch, and then you give both a million flowers.
#
# Run the cells from top to bottom: **Shift+Enter** runs one and goes to the next. It takes less than a minute.

# %%
import time

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.metrics import ConfusionMatrixDisplay
from sklearn.model_selection import StratifiedKFold, cross_val_predict, cross_val_score
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.nn import functional as F

from datasets.flowers import FEATURES, SPECIES, real_flowers

torch.manual_seed(0)
features, species = real_flowers()
print(f"{features.shape[0]} flowers, {features.shape[1]} measurements: {', '.join(FEATURES)}")
print(f"{len(SPECIES)} species: {', '.join(SPECIES)}")

# %% [markdown]
# ## In scikit-learn
#
# A pipeline scales the measurements and trains a network with one hidden layer of 16 units. You say *what* you want, and
# scikit-learn decides how: which loss, which optimiser, how many rows at a time, when to stop.

# %%
classifier = make_pipeline(
    StandardScaler(),
    MLPClassifier(hidden_layer_sizes=(16,), learning_rate_init=0.02, max_iter=1000, random_state=0),
)
folds = StratifiedKFold(5, shuffle=True, random_state=0)
accuracies = cross_val_score(classifier, features, species, cv=folds)
print(f"accuracy by 5-fold cross-validation: {accuracies.mean():.3f}")
classifier.fit(features, species)

# %% [markdown]
# Cross-validation trains five times, each time on four fifths of the flowers, and asks about the fifth that was left out. No
# model is asked about a flower that it has learned.
#
# ## In PyTorch: the network
#
# The same network, written out. `__init__` names the layers, and `forward` says what becomes of the measurements of some
# flowers, one row each:
#
# | step | shape |
# |---|---|
# | measurements in cm, scaled | (n, 4) |
# | hidden layer, then ReLU: negative numbers become 0 | (n, 16) |
# | output layer: one number for each species, a *logit* | (n, 3) |
#
# The largest logit is the prediction. The scaling is a part of the network here, so that nobody can forget it later.


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


# %% [markdown]
# ## In PyTorch: the training
#
# What `fit` did for you, in four lines that stand in every PyTorch program:
#
# 1. `loss = F.cross_entropy(net(x), y)`: how wrong is the network on these flowers? One number; 0 is perfect.
# 2. `optimizer.zero_grad()`: forget the gradients of the step before.
# 3. `loss.backward()`: for each of the weights, how would the loss change if it grew a little? That is its *gradient*.
#    Tensors remember how they came about, so PyTorch reckons it backwards by itself: *autograd*.
# 4. `optimizer.step()`: move each weight a little to where the loss falls.
#
# One round of these over some rows, a *batch*, is a step; one pass over all rows is an *epoch*. `weight_decay` pulls all weights
# a little towards 0 at each step, so that the network does not learn 120 flowers by heart (scikit-learn calls it `alpha`).


# %%
def train(x, y, epochs, batch, learning_rate, weight_decay=0.0):
    """A trained network, and the loss of each step."""
    net = Net()
    net.mean, net.scale = x.mean(dim=0), x.std(dim=0)
    optimizer = torch.optim.Adam(net.parameters(), lr=learning_rate, weight_decay=weight_decay)
    losses = []
    for _ in range(epochs):
        order = torch.randperm(len(x))
        for rows in order.split(batch):
            loss = F.cross_entropy(net(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return net.eval(), losses


x, y = torch.tensor(features), torch.tensor(species).long()
net, losses = train(x, y, epochs=60, batch=16, learning_rate=0.01, weight_decay=0.003)

# %%
figure, axes = plt.subplots(figsize=(7, 3.2))
axes.plot(losses, linewidth=0.8)
axes.set(
    title="How wrong the network is, step by step", xlabel="step", ylabel="loss (cross-entropy, nats)", ylim=(0, None)
)
plt.show()

# %% [markdown]
# **Ask yourself:** why does the curve jump up and down, and would it with all 150 flowers in one batch?
#
# ## Is it as good?
#
# The same folds as before, now for the network. `torch.no_grad()` says that nobody will ask for gradients, so none are kept.

# %%
torch_held_out = np.empty(len(species), int)
for learned, left_out in folds.split(features, species):
    one, _ = train(x[learned], y[learned], epochs=60, batch=16, learning_rate=0.01, weight_decay=0.003)
    with torch.no_grad():
        torch_held_out[left_out] = one(x[left_out]).argmax(dim=1)
print(f"accuracy by 5-fold cross-validation: {(torch_held_out == species).mean():.3f}")

# %% [markdown]
# Which flowers do they miss? Each is judged by the model that had not seen it.


# %%
def predict(rows):
    with torch.no_grad():
        return net(torch.as_tensor(rows, dtype=torch.float32)).argmax(dim=1).numpy()


figure, both = plt.subplots(1, 2, figsize=(9, 3.8))
held_out = cross_val_predict(classifier, features, species, cv=folds)
for axes, name, codes in zip(both, ("scikit-learn", "PyTorch"), (held_out, torch_held_out)):
    ConfusionMatrixDisplay.from_predictions(species, codes, display_labels=SPECIES, ax=axes, colorbar=False)
    axes.set_title(name)
figure.tight_layout()
plt.show()

# %% [markdown]
# ## What it has learned
#
# Over petal length and width, with the sepals at their averages: the areas are what each model would say, the marks are the
# flowers.

# %%
lengths, widths = np.meshgrid(np.linspace(0.8, 7.2, 220), np.linspace(0, 2.7, 220))
grid = np.empty((lengths.size, 4), np.float32)
grid[:, :2] = features[:, :2].mean(axis=0)
grid[:, 2], grid[:, 3] = lengths.ravel(), widths.ravel()
figure, both = plt.subplots(1, 2, figsize=(9.5, 3.8), sharey=True)
for axes, name, codes in zip(both, ("scikit-learn", "PyTorch"), (classifier.predict(grid), predict(grid))):
    axes.contourf(
        lengths,
        widths,
        codes.reshape(lengths.shape),
        levels=[-0.5, 0.5, 1.5, 2.5],
        alpha=0.25,
        colors=["C0", "C1", "C2"],
    )
    for code, (name_of, marker) in enumerate(zip(SPECIES, "o^s")):
        own = features[species == code]
        axes.scatter(own[:, 2], own[:, 3], marker=marker, s=22, edgecolor="black", linewidth=0.4, label=name_of)
    axes.set(title=name, xlabel="petal length (cm)")
both[0].set_ylabel("petal width (cm)")
both[0].legend()
figure.tight_layout()
plt.show()

# %% [markdown]
# ## The same code, a million flowers
#
# The flowers are drawn from distributions like those of the real ones (`datasets/synthetic.py`). The code is the same; what
# changes are four numbers: larger batches, larger steps, no weight decay, since nobody learns a million flowers by heart, and one
# epoch, since there are enough rows for one to do.

# %%
from datasets.synthetic import Stream, chunk

parts = [chunk(0, Stream.TRAIN, number) for number in range(16)]
many = np.concatenate([rows for rows, _ in parts])[:1_000_000]
many_species = np.concatenate([codes for _, codes in parts])[:1_000_000]
unseen, unseen_species = chunk(0, Stream.TEST, 0)
print(f"{len(many):,} flowers to learn, {len(unseen):,} to be asked about")

# %%
torch.manual_seed(0)
began = time.perf_counter()
big_net, _ = train(
    torch.from_numpy(many), torch.from_numpy(many_species).long(), epochs=1, batch=2048, learning_rate=0.1
)
torch_seconds = time.perf_counter() - began

began = time.perf_counter()
big_classifier = make_pipeline(
    StandardScaler(),
    MLPClassifier(hidden_layer_sizes=(16,), batch_size=2048, learning_rate_init=0.03, max_iter=1, random_state=0),
)
import warnings

with warnings.catch_warnings(action="ignore"):  # that one epoch is not many: it is enough here
    big_classifier.fit(many, many_species)
sklearn_seconds = time.perf_counter() - began

with torch.no_grad():
    torch_unseen = (big_net(torch.from_numpy(unseen)).argmax(dim=1).numpy() == unseen_species).mean()
print(f"scikit-learn: {sklearn_seconds:.1f} s, accuracy {big_classifier.score(unseen, unseen_species):.4f}")
print(f"PyTorch:      {torch_seconds:.1f} s, accuracy {torch_unseen:.4f}")

# %% [markdown]
# One measurement on your machine, in a notebook, right after other work: it is an impression and no benchmark. What would have
# to be done to believe it? (`../README.md` says what irisbench does.)
#
# ## Save it
#
# Only the weights are saved, and loading them runs no code from the file. The class `Net` has to be there where they are loaded.

# %%
torch.save(net.state_dict(), "net.pt")
print("net.pt is written: exercise 1 loads it")
