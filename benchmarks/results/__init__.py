"""What a run leaves behind: records, the environment, and how both are read."""
