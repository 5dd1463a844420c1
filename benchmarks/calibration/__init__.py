"""Does a verdict say whether a network trains? Cases, each really trained, and the fit to them."""
