"""The harness: it runs cases in their own processes, times their phases, and records them.

case_process/   runs inside the process of a case
supervision/    watches a case from outside and enforces its limits
results/        what a run leaves behind
scheduling/     what is measured when
comparison/     how two runs are compared
tools/          for recipe developers
"""
