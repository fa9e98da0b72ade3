"""Errors of adapters, and how to recognise that memory was exhausted.

Exception
├── BadInput (errors)        the input of the user is wrong: exit code 2
│   ├── NoSpecies            `train` was called with a table without species
│   └── ForeignModel         `restore` read a file that `save` did not write
└── Unavailable              a package, Java or a GPU is missing
"""

from __future__ import annotations

from pathlib import Path

from errors import BadInput


class NoSpecies(BadInput):
    """`train` was called with a table without species."""

    def __init__(self) -> None:
        super().__init__("the table has no column species; add the species of every flower")


class ForeignModel(BadInput):
    """`restore` read a file that `save` did not write."""


class Unavailable(Exception):
    """A framework cannot run here. The message says what is missing and how to install it."""


def exhausted_memory(error: BaseException, log: Path | None) -> str | None:
    """Return which memory was exhausted ("Java heap", "CUDA" or "host"), or None if the error has another cause.

    The log of the engine is searched, too, because a JVM that ran out of memory no longer answers.
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
    if "OOM when allocating" in text:  # TensorFlow's message, followed by the device
        return "CUDA" if "GPU" in text else "host"
    if any(isinstance(link, MemoryError) for link in chain) or "can't allocate memory" in text:
        return "host"
    return None


def first_line(error: BaseException) -> str:
    """Return the type of an error and the first line of its message. H2O's errors have the message as an attribute."""
    message = str(getattr(error.args[0] if error.args else None, "exception_msg", None) or error)
    text = next((line.strip() for line in message.splitlines() if line.strip()), "no message")
    return f"{type(error).__name__}: {text}"
