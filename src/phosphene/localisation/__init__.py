"""Localisation: where in a picture, from maps of what a network looks at."""
