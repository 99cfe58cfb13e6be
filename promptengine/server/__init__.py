"""The HTTP server: WebUI's API, a namespace of our own, and jobs that wait for a device.

It needs the extra ``server``; importing this package alone loads nothing.
"""
