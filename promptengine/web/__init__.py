"""The page: what a person sees in a browser. Only :mod:`promptengine.web.page` knows the toolkit."""
