"""Layer 0: types, configuration, errors and logging shared by all packages. Imports neither torch nor pygame."""
