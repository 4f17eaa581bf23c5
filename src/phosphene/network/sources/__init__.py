"""Where networks come from. Each file knows one origin and imports its library only when asked."""
