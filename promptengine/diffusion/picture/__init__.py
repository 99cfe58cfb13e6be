"""Pictures and masks of eight bits: what img2img, inpainting and the high-resolution pass do to them."""
