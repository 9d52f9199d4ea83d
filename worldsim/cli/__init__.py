"""Layer 7: the command line, one module per command with `run(argv)`. Whatever loads torch is imported inside `run`."""
