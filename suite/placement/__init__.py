"""Placement of a training: on one device, on several, or on the hosts of a cluster."""
