"""Speed and memory of torch modules."""
