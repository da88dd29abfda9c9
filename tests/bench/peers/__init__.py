"""Others that do what broker does, each in the fastest form its documentation shows."""
