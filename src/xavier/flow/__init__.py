"""What is read off a `Flow`: the graph's structure, and second moments carried through it."""
