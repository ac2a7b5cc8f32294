"""Weights from checkpoints of any library, matched to a network by structure."""
