"""worldsim: play a neural world on your own computer."""

__version__ = "0.1.0"
