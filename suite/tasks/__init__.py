"""What a kind of work has in common: data, losses, endpoints, metrics, figures and commands."""
