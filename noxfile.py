"""The commands of this project, as nox sessions: ./nox -s benchmark, ./nox -s tests; ./nox --list shows all."""

import os
import runpy
from pathlib import Path

import nox

runpy.run_path(str(Path(__file__).with_name("windows.py")))  # exits here on native Windows

# uv does not read pip's variable for a folder of wheels.
if "PIP_FIND_LINKS" in os.environ:
    os.environ.setdefault("UV_FIND_LINKS", ",".join(os.environ["PIP_FIND_LINKS"].split()))
# Compile at installation, so that no first import includes the compilation.
os.environ.setdefault("UV_COMPILE_BYTECODE", "1")

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "uv"
nox.options.sessions = ["benchmark"]

GROUPS = nox.project.load_toml("pyproject.toml")["dependency-groups"]
FRAMEWORKS = [group for group in GROUPS if group not in ("workshop", "tests", "lint")]
PATIENCE_S = 120
"""Seconds that a command has after Ctrl-C to end the running case and to make the report."""


def install(session: nox.Session, *groups: str) -> None:
    wanted = [word for group in groups for word in ("--group", group)]
    session.install(*wanted, "--constraints", "constraints.txt")
    session.env["PYTHONPATH"] = os.getcwd()


@nox.session(reuse_venv=True)
def benchmark(session: nox.Session) -> None:
    """Measure the frameworks and make the report; arguments after -- go to the run (try -- --help)."""
    install(session, *FRAMEWORKS)
    session.run("python", "-m", "benchmarks", "run", *session.posargs, interrupt_timeout=PATIENCE_S)


@nox.session(reuse_venv=True)
def report(session: nox.Session) -> None:
    """Make the report of the newest run again, or of the runs named after --."""
    install(session, "core")
    session.run("python", "-m", "reports", *session.posargs)


@nox.session(reuse_venv=True)
def compare(session: nox.Session) -> None:
    """Compare two runs, named after --: which cases became faster or slower."""
    install(session, "core")
    session.run("python", "-m", "benchmarks", "compare", *session.posargs)


@nox.session(reuse_venv=True)
def overhead(session: nox.Session) -> None:
    """Show the cost of the harness: seconds per case, microseconds per repeat, the supervisor's memory and CPU."""
    install(session, "core")
    session.run("python", "-m", "benchmarks", "overhead", *session.posargs, interrupt_timeout=PATIENCE_S)


@nox.session(reuse_venv=True)
def tune(session: nox.Session) -> None:
    """Search for faster recipes among an adapter's candidates: -- --framework NAME --model NAME."""
    install(session, *FRAMEWORKS)
    session.run("python", "-m", "benchmarks", "tune", *session.posargs, interrupt_timeout=PATIENCE_S)


@nox.session(reuse_venv=True)
def workshop(session: nox.Session) -> None:
    """Open the workshop guide in Jupyter, for this user on this computer. Arguments after -- go to Jupyter."""
    install(session, *FRAMEWORKS, "workshop")
    session.run("python", "-m", "workshop", "serve", *session.posargs, interrupt_timeout=PATIENCE_S)


@nox.session(reuse_venv=True)
def notebooks(session: nox.Session) -> None:
    """Run all workshop notebooks from clean kernels, on a copy; -- sync makes them from their sources."""
    install(session, *FRAMEWORKS, "workshop")
    session.run("python", "-m", "workshop", *(session.posargs or ["run"]), interrupt_timeout=PATIENCE_S)


@nox.session(reuse_venv=True)
def tests(session: nox.Session) -> None:
    """Run the tests, with real frameworks and real JVMs; arguments after -- go to pytest."""
    install(session, *FRAMEWORKS, "workshop", "tests")
    # Two processes: one works while the other waits for a JVM or a browser. Each file or class stays in one process.
    session.run(
        "pytest",
        "-n",
        "2",
        "--dist",
        "loadscope",
        "--benchmark-disable",
        *session.posargs,
        interrupt_timeout=PATIENCE_S,
    )


@nox.session(reuse_venv=True)
def campaigns(session: nox.Session) -> None:
    """Kill processes of running benchmarks, and give damaged inputs to the commands; -- full does it most often."""
    install(session, *FRAMEWORKS, "workshop", "tests")
    kills, inputs = ("200", "3000") if "full" in session.posargs else ("12", "150")
    session.run("python", "-m", "tests.kills", "--count", kills, interrupt_timeout=PATIENCE_S)
    session.run("python", "-m", "tests.mutated", "--count", inputs, interrupt_timeout=PATIENCE_S)


@nox.session(reuse_venv=True)
def lint(session: nox.Session) -> None:
    """Check format, style and types with ruff and mypy."""
    install(session, "core", "lint")
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    session.run("mypy")
