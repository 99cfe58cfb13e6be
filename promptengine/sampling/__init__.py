"""Noise, noise levels, schedules of steps and samplers: mathematics, no models."""
