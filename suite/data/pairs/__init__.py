"""Pictures whose targets are pictures, too: other pictures of the same place, masks, or patches."""
