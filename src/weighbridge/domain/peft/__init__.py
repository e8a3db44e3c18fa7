"""What PEFT reads: its config, its names, its pairs, and what a config selects."""
