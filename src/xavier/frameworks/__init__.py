"""One folder for each framework; they know nothing of each other."""
