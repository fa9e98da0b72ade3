"""Model folders for tests: trained in this process, changed, and signed again as an attacker would."""

from __future__ import annotations

import json
import random
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile, is_zipfile

from adapters import model_folder
from adapters.base import Adapter
from datasets import store
from datasets.flowers import real_flowers
from tests.mutations import damaged, with_other_bytes


def make(adapter: Adapter, framework: str, model: str, folder: Path) -> Path:
    """Train on the 150 flowers and write a model folder."""
    store.write(folder / "flowers.parquet", *real_flowers())
    trained = adapter.train(adapter.load(folder / "flowers.parquet"), adapter.recipe(model, 150), 0)
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


def mutate(folder: Path, chance: random.Random) -> None:
    """Change one file of a model folder at random, or its card. Usually make the checksums match."""
    file = chance.choice([folder / "model.json", *(path for path in (folder / "model").rglob("*") if path.is_file())])
    content = bytearray(file.read_bytes())
    place = chance.randrange(len(content))
    how = chance.choice(["flip", "flip", "truncate", "insert", "delete", "word"])
    if is_zipfile(file) and chance.random() < 0.5:
        how = "member"
        content[:] = with_another_member(content, chance)
    if how == "flip":
        content[place] ^= 1 << chance.randrange(8)
    elif how == "truncate":
        del content[place:]
    elif how == "insert":
        content[place:place] = chance.randbytes(chance.randrange(1, 9))
    elif how == "word":
        content[place : place + 4] = chance.choice([b"null", b"1e99", b'"a":', b"[[[[", b"NaN,", b"-1.5", b"{}{}"])
    file.write_bytes(content)
    if how == "delete":
        file.unlink()
    elif file.name != "model.json" and chance.random() < 0.7:
        sign(folder)


def with_another_member(archive: bytes, chance: random.Random) -> bytes:
    """Return a copy of a zip archive in which one file is damaged, with a checksum that matches."""
    with ZipFile(BytesIO(archive)) as before:
        members = {name: before.read(name) for name in before.namelist()}
    name = chance.choice(sorted(members))
    text = members[name].decode() if name.endswith(".json") else None
    members[name] = with_other_bytes(members[name], chance) if text is None else damaged(text, chance)
    after = BytesIO()
    with ZipFile(after, "w") as changed:
        for name, content in members.items():
            changed.writestr(name, content)
    return after.getvalue()
