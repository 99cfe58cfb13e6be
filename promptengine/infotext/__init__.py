"""From the text inside an image back to what makes the image again."""
