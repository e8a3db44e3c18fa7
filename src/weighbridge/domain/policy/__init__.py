"""The policy: which rules run, which findings count, what blocks. It comes from the caller, and is
never read from the artifact."""
