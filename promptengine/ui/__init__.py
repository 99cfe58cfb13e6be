"""What a person sees in a browser: :mod:`promptengine.ui.studio`, a page on the server's own routes."""
