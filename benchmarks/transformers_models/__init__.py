"""Models of the transformers library, built small from their configurations, planned and checked.

`python -m benchmarks.transformers_models` makes the table in `docs/transformers.md`.
"""
