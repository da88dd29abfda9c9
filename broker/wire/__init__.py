"""The wire: bytes to messages and back, with no I/O, no clock and no tasks."""
