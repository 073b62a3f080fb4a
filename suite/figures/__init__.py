"""Pictures that more than one app draws."""
