"""The main job, shown on real servers without account or configuration: `make run`."""
