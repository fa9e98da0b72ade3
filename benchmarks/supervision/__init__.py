"""Code that watches a case from outside: limits, process tree, timeline, clean-up."""
