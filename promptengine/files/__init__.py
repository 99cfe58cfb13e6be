"""Files on disk, whatever they hold: safe readers of weights, whole-or-nothing writers, hashes."""
