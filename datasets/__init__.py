"""Iris at any size: 150 real flowers, and synthetic ones made from them."""
