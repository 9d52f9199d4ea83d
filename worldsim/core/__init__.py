"""Floor 0: the words every other package speaks. Imports neither torch nor pygame."""
