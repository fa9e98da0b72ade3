"""The harness: the only place with a clock, and the only place with limits."""
