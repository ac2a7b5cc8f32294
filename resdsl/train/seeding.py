"""What a run's seed decides besides images and their order: the weights, and what a network draws in training."""

import torch

from resdsl.train.augment import keyed_generator


def seed_weights(seed: int) -> None:
    """Seed torch's own generators; call it before the model is made, so that the seed decides its weights."""
    torch.manual_seed(seed)


def seed_draws(seed: int, rank: int, step: int = 0) -> None:
    """Seed torch's own generators for what a network draws in training: in each process other numbers."""
    torch.manual_seed(keyed_generator(seed, "process", rank, step).initial_seed() if rank or step else seed)
