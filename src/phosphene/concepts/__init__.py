"""Directions of a layer that mean something to people: concepts of examples, and parts that a layer is made of."""
