"""The training loop: schedule, state, optimisers, validation, stopping."""
