"""Whole checkpoints: a LoRA merged into one, a quantised one unpacked, names restored."""
