"""The command line: one file a command; each parses, calls one verb, writes. Nothing here imports torch before it is needed."""
