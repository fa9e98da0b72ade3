"""The class: a guide, notebooks, and what checks the exercises."""
