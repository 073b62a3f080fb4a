"""What a kind of work is judged by."""
