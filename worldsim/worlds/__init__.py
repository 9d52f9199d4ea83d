"""Floor 2: true simulators that make data and ground truth. One folder per world; an engine is imported when it starts."""
