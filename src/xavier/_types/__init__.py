"""The nouns that travel through the house: plain, frozen data."""
