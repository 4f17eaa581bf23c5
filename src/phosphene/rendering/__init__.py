"""Rendering: pictures that make an objective large. argmax over pictures of objective − penalties."""
