"""Floor 2: true simulators that make data and ground truth. One folder per world."""
