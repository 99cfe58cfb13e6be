"""The pages: what a person sees in a browser, on top of the server and its queue of jobs.

What it shows is HTML made by plain functions (:mod:`promptengine.ui.html.prompt`, ``cards``, ``stage``,
``losses``); what it asks for is made of its values by others (``asking``). The modules named after a
tab lay it out with Gradio, and :mod:`promptengine.ui.app` puts them together. It needs the extra
``web``; importing this package alone loads nothing. :mod:`promptengine.ui.studio` is the page that will take
its place; it needs no more than the server.
"""
