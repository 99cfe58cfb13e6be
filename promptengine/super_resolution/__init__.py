"""Networks that enlarge images: their architectures, their files, and how an image goes through them in tiles."""
