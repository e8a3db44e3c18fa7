"""What llama.cpp calls a LoRA's tensors, in which order and which form."""
