"""From conditioning to images: checkpoints, noise schedules, samplers, the engine."""
