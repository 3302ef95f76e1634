"""Measures pyro beside the tools people use today: `bench/run.sh`. Standard library only."""
