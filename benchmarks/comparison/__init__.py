"""How two runs are compared."""
