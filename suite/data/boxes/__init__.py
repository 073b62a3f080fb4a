"""Pictures and the boxes of the things in them: four file formats, made scenes, and distortions."""
