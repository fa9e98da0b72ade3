"""Tools for recipe developers: compare recipes, measure the overhead of an adapter or of the harness."""
