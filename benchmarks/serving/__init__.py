"""The server beside others: its rate, bad requests, and replacement under load."""
