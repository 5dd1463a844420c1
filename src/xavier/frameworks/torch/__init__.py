"""PyTorch: trace, write, measure, and the models of the zoo."""
