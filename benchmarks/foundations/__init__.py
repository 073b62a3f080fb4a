"""Models before deep networks, beside scikit-learn and others: exact, as good, as fast."""
