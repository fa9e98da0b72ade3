"""Code that runs inside the process of a case: its phases, its clock, its event log."""
