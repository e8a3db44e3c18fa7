"""What MLX reads: its names, its quantised bases, and a conversion to it."""
