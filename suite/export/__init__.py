"""SavedModels: writing them, reading them, and calling their signatures."""
