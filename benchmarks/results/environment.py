"""The environment of a run: its machine, versions and settings, as types. The file is environment.json.

This version also reads the files of earlier ones: `adoption` is the former name of `install_cost`, and
`threads` was one number.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from adapters.plugins import Style
from benchmarks.validation import Bytes, Count, Limit, Load, Megabytes, Seed, parse, shown
from datasets.files import LARGEST_JSON_BYTES, read_regular
from errors import BadInput

FILE = "environment.json"


@dataclass(frozen=True)
class Machine:
    """The facts that affect times and that irisbench does not set. None means that a fact is unknown.

    `instructions` are the widest vector instructions of the processor, `governor` is the CPU frequency governor, and
    `power` is "mains" or "battery". `load_average` is that of the minute before the run.
    """

    system: str | None = None
    kernel: str | None = None
    architecture: str | None = None
    processor: str | None = None
    cores: Count | None = None
    usable_cores: Count | None = None
    instructions: str | None = None
    governor: str | None = None
    power: str | None = None
    load_average: Load | None = None
    memory_bytes: Bytes | None = None
    memory_limit_bytes: Bytes | None = None
    python: str | None = None


@dataclass(frozen=True)
class Git:
    """The version of irisbench. `dirty` means that files differed from the commit."""

    commit: str | None = None
    dirty: bool = False


@dataclass(frozen=True)
class Settings:
    """The settings of a run. `launches` is None if the run chose the number of launches of each case itself."""

    threads: Count | tuple[Count, ...] | None = None
    seed: Seed | None = None
    launches: Count | None = None
    rounds: Count | None = None
    time_limit_s: Limit | None = None
    case_limit_s: Limit | None = None
    memory_limit_bytes: Bytes | None = None


@dataclass(frozen=True)
class InstallCost:
    """The number and size of the packages to install, in megabytes (1e6 bytes), and the lines of the adapter."""

    packages: Count | None = None
    megabytes: Megabytes | None = None
    adapter_lines: Count | None = None


@dataclass(frozen=True)
class FrameworkFacts:
    """A framework on the machine of a run. `reason` says why it is unavailable."""

    version: str | None = None
    reason: str | None = None
    device: str | None = None
    format: str | None = None
    distributed: str | None = None
    recipe_digest: str | None = None
    install_cost: InstallCost | None = None
    style: Style | None = None


@dataclass(frozen=True)
class Environment:
    """The content of environment.json. All values are optional, because the file may be missing."""

    run: str | None = None
    started: str | None = None
    command: str | None = None
    machine: Machine | None = None
    warnings: tuple[str, ...] = ()
    java: str | None = None
    packages: dict[str, str] = field(default_factory=dict)
    git: Git = field(default_factory=Git)
    settings: Settings = field(default_factory=Settings)
    frameworks: dict[str, FrameworkFacts] = field(default_factory=dict)

    def framework(self, name: str) -> FrameworkFacts:
        """Return the facts about a framework. They are all None if the file does not name it."""
        return self.frameworks.get(name, FrameworkFacts())


def resumed(before: Environment, now: Environment) -> Environment:
    """Return the environment of a run that is resumed: its first start, and the warnings of all its sessions."""
    warnings = tuple(dict.fromkeys(before.warnings + now.warnings))
    git = replace(now.git, dirty=now.git.dirty or before.git.dirty)
    return replace(now, started=before.started or now.started, warnings=warnings, git=git)


def from_json(values: Any) -> Environment:
    """Return the environment in a JSON value. Raise msgspec.ValidationError if it is not an environment."""
    if isinstance(values, dict) and isinstance(frameworks := values.get("frameworks"), dict):
        for facts in frameworks.values():
            if isinstance(facts, dict) and "adoption" in facts:
                facts["install_cost"] = facts.pop("adoption")
    return msgspec.convert(values, Environment)


def read(path: Path) -> Environment:
    """Return the environment in a file, or an empty one if there is no file. Raise BadInput if it is damaged."""
    try:
        return from_json(parse(read_regular(path, LARGEST_JSON_BYTES).decode("utf-8-sig", "replace")))
    except FileNotFoundError:
        return Environment()
    except BadInput:
        raise
    except (ValueError, msgspec.ValidationError) as error:
        problem = shown(" ".join(str(error).split()))
        raise BadInput(
            f"{path} is damaged ({problem}). Delete it to continue; the report then lacks the machine and the settings"
        ) from None
