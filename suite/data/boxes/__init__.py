"""Pictures and the boxes of the things in them: four file formats, generated scenes, and augmentations."""
