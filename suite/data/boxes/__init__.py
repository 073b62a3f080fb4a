"""Pictures and the boxes of things in them: file formats, generated scenes, augmentations."""
