"""Iris data of any size: the 150 real flowers, and synthetic flowers drawn from Gaussians fitted to them."""
