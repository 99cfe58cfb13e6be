"""The starter: a small checkpoint trained on a picture world drawn by this package."""
