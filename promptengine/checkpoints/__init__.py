"""From files to UNet, VAE and text encoders."""
