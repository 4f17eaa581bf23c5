"""Inspection: the parts of a network as they are: filters, and what a picture makes of every channel."""
