"""Figures 2 to 4 of Glorot and Bengio 2010, on digits: activations while a network trains."""
