"""The page at ``/studio/``: a small application of its own on the server's HTTP API.

Its sources are TypeScript in ``src``; what browsers load is built into ``built`` and lies in the repository,
so that installing needs no Node. It comes with the extra ``server``.
"""
