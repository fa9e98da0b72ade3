"""What can go wrong in an adapter, and how the one kind that is a result, memory, is recognised.

Exception
├── BadInput (errors)        what the user handed in is wrong: exit code 2
│   ├── NoSpecies            a table without species was handed to train
│   └── ForeignModel         a file that restore reads is no model of ours
└── Unavailable              a part is missing: the package, Java, the GPU
"""

from __future__ import annotations

from pathlib import Path

from errors import BadInput


class NoSpecies(BadInput):
    """A table without species was handed to `train`."""

    def __init__(self) -> None:
        super().__init__("the table has no column species, so there is nothing to learn from")


class ForeignModel(BadInput):
    """A file that `restore` reads holds something else than a model that `save` wrote."""


class Unavailable(Exception):
    """A framework cannot run here; the message says what is missing and what to type."""


def exhausted_memory(error: BaseException, log: Path | None) -> str | None:
    """Which memory an error says was exhausted ("Java heap", "CUDA", "host"), or None if it says no such thing.

    A JVM that dies of it cannot answer any more, so the engine's log is asked too.
    """
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    text = "\n".join(f"{type(link).__name__}: {link}" for link in chain)
    if log is not None and log.exists():
        text += log.read_text(errors="replace")
    if "java.lang.OutOfMemoryError" in text or "out of Java heap" in text or "Java heap space" in text:
        return "Java heap"
    if "CUDA out of memory" in text or "CUDA_ERROR_OUT_OF_MEMORY" in text:
        return "CUDA"
    if "OOM when allocating" in text:  # TensorFlow's words; it adds the device
        return "CUDA" if "GPU" in text else "host"
    if any(isinstance(link, MemoryError) for link in chain) or "can't allocate memory" in text:
        return "host"
    return None


def first_line(error: BaseException) -> str:
    """Return the kind of an error and the first line of its message. H2O's errors carry the message as an attribute."""
    message = str(getattr(error.args[0] if error.args else None, "exception_msg", None) or error)
    text = next((line.strip() for line in message.splitlines() if line.strip()), "no message")
    return f"{type(error).__name__}: {text}"
