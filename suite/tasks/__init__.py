"""Tasks that several applications share: their data, losses, endpoints, metrics and commands."""
