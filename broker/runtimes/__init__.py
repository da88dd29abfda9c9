"""The runtimes: what executes a plugin."""
