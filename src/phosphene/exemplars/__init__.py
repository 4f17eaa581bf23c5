"""Which pictures of a data set excite a unit, and where."""
