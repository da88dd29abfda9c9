"""How fast and how small broker is, beside others in the same run. `python -m tests.bench --help`.

Absolute figures drift from machine to machine and with whatever else runs; read the ratios, which are taken
inside a round and then their median over the rounds.
"""
