"""Model folders for tests: trained in this process, changed, and signed again as an attacker would."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

from adapters import model_folder
from adapters.base import Adapter
from datasets import store
from datasets.flowers import real_flowers


def make(adapter: Adapter, framework: str, model: str, folder: Path) -> Path:
    """Train on the 150 flowers and write a model folder."""
    store.write(folder / "flowers.parquet", *real_flowers())
    trained = adapter.train(adapter.load(folder / "flowers.parquet"), model, 0)
    (folder / "flowers.parquet").unlink()
    (folder / "model").mkdir()
    adapter.save(trained, folder / "model")
    model_folder.write_card(folder, framework, model, adapter.track, 150, 0, adapter.describe(trained))
    return folder


def change_card(folder: Path, **values: Any) -> None:
    card = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(card | values))


def sign(folder: Path) -> None:
    """Write the checksums that the files have now into the card."""
    files = [path for path in sorted((folder / "model").rglob("*")) if path.is_file()]
    change_card(
        folder,
        files={
            path.relative_to(folder / "model").as_posix(): {
                "bytes": path.stat().st_size,
                "sha256": sha256(path.read_bytes()).hexdigest(),
            }
            for path in files
        },
    )
