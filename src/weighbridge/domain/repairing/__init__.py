"""What is wrong with a PEFT adapter that was made by hand, and what it was meant to be."""
