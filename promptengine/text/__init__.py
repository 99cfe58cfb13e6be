"""From weighted text to what cross-attention reads: tokens, 77-token chunks, conditioning."""
