"""The harness: run each case in its own process, time its phases, and record them.

case_process/   runs inside the process of a case
supervision/    watches a case from outside and enforces its limits
results/        the files of a run: records and environment
scheduling/     which case runs next, and when a run ends
comparison/     compares two runs
tools/          tools for recipe developers
"""
