"""Reads pictures from files, folders, arrays and datasets, and converts them to images."""
