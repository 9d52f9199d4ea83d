"""Floor 5: how close the learned world stays to the true one. Scores, held-out clips, contact sheets."""
