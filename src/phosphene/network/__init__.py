"""Networks: opening them, feeding them pictures, reading what their modules give."""
