"""The faces: what the broker shows to whoever spawned it."""
