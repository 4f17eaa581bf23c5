"""Objectives: what is looked for, as immutable expressions with one text for code, command line, file names and records."""
