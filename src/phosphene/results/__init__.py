"""Results: frozen values in raw units, and the records that can make them again.

Axes are always b c h w; places are (y, x); boxes are (left, top, right, bottom) in pixels of the original picture, right and
bottom outside.
"""
