"""Foreign data into recorded sessions.

`base` is what a foreign recording comes down to, and how its files are read; one file per layout makes it; `convert`
writes sessions and counts what was wrong. Nothing here knows torch.
"""
