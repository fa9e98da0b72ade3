"""Records in, answers out."""
