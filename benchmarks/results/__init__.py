"""The files of a run: its records and its environment, and functions that read them."""
