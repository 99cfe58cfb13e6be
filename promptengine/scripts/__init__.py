"""WebUI's scripts: what makes several images of one request, one after the other."""
