"""What is measured when: the configuration of a run, its launches, its forecast and its progress."""
