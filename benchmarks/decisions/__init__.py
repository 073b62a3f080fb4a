"""How soon, how well and how fast agents learn to decide, beside Stable-Baselines3."""
