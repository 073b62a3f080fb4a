"""Where a training runs: one device, several, or many hosts."""
