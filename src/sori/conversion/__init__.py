"""Foreign checkpoints to ours and back: every tensor accounted for, nothing executed."""
