"""Networks that remember: stored patterns, the recent past, or how probable a picture is."""
