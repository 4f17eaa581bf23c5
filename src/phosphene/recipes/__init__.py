"""Recipes: one file a source. Each gives a `Recipe` for a picture's (channels, height, width)."""
