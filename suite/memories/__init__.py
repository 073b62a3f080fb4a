"""Networks trained without backpropagation: Hopfield's, reservoirs, Boltzmann machines."""
