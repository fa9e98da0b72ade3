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
# # The same refactoring in H2O
#
# H2O is a server, written in Java, that holds your data and trains on it; Python only asks. So it can be a server of many machines,
# and the data need not fit into Python. Here it runs on this machine alone, and answers nobody else.
#
# | | PyTorch | H2O |
# |---|---|---|
# | where the data is | in tensors of this process | in frames on the server |
# | the network | a class that you write | `hidden=[16]` |
# | scaling | your part | done for you (`standardize`) |
# | the optimiser | your choice, in mini-batches | its own: each thread learns rows one by one, all on the same weights (Hogwild) |
# | alike from run to run | with a seed | with `reproducible=True`, and one thread |
# | classes | numbers | a column of a categorical type, `asfactor` |
# | what is saved | weights | a binary file, for the same version of H2O |

# %%
import os
import tempfile
from pathlib import Path

os.environ["DO_NOT_TRACK"] = "1"

import h2o
import numpy as np
from h2o.estimators import H2ODeepLearningEstimator

from adapters.base import Resources
from adapters.h2o_server import Server
from datasets.flowers import FEATURES, SPECIES, real_flowers

# h2o.init() would start a server that obeys every user of this computer. This one has a password.
working_folder = tempfile.TemporaryDirectory()
server = Server(Resources(threads=2, memory_bytes=2 * 1024**3, folder=Path(working_folder.name)))
h2o.connect(url=server.start(), auth=server.login, verbose=False)
h2o.no_progress()

# %% [markdown]
# ## Train

# %%
features, species = real_flowers()
frame = h2o.H2OFrame(np.column_stack([features, species]), column_names=[*FEATURES, "species"])
frame["species"] = frame["species"].asfactor()
network = H2ODeepLearningEstimator(hidden=[16], epochs=100, seed=0, reproducible=True)
network.train(x=list(FEATURES), y="species", training_frame=frame)

# %% [markdown]
# ## Save and restore

# %%
path = h2o.save_model(network, str(Path("h2o-model").resolve()), force=True)
restored = h2o.load_model(path)

# %% [markdown]
# ## Infer
#
# The answer is a frame on the server, until you fetch it.

# %%
answers = restored.predict(frame[list(FEATURES)]).as_data_frame(use_multi_thread=True)
codes = answers["predict"].to_numpy().astype(int)
accuracy = float((codes == species).mean())
print(f"{accuracy:.3f} of the flowers that it has learned are named rightly; the first is {SPECIES[codes[0]]}")

# %% [markdown]
# One flower takes milliseconds: it travels to the server and back. The report of irisbench shows how many.

# %%
h2o.connection().close()
server.end()
working_folder.cleanup()
