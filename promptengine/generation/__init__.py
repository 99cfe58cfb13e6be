"""From conditioning to pictures: checkpoints, noise schedules, samplers, the engine."""
