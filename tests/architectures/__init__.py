"""The evidence for the architecture table: tiny models built in both stacks, compared by values."""
