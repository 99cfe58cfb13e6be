"""Jobs that wait for a device, and what makes their images."""
