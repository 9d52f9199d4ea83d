"""The roof: one file per command, each with `HELP` and `run(argv)`. Whatever loads torch is imported inside `run`."""
