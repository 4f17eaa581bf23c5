"""State with update, merge and compute; merging is associative and commutative."""
