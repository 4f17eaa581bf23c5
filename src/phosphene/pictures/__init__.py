"""Pictures: reading and writing them, tiles, sheets, animations. Nothing here knows a network."""
