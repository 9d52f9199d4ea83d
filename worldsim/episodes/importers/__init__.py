"""Converts datasets of other projects to recorded sessions.

`base` defines what a reader returns and what readers share; there is one module per layout; `convert` writes sessions
and reports the files that could not be read. No torch.
"""
