"""Training of hypernetworks: pictures and captions in, a network file out, resumable at any time.

Everything random derives from the seed and from the place where it is needed (a step, a picture, an
epoch), so a run that was stopped anywhere goes on as if it never had been.
"""
