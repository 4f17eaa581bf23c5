"""Class activation maps and their kin: which places of a layer's maps an objective owes its value to."""
