"""The form of a network that runs fastest: images in, logits at its own stride out, and an exact rewrite of its head.

What it computes is what the network computes, but for the rounding of float32 in another order of operations.
"""
