"""From the text inside a picture back to what makes the picture again."""
