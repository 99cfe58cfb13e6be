"""Training of hypernetworks: images and captions in, a network file out, resumable at any time.

Everything random derives from the seed and from the place where it is needed (a step, an image, an
epoch), so a run that was stopped anywhere goes on as if it never had been.
"""
