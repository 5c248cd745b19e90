"""The training loop, its optimisers, schedules, checkpoints and reports."""
