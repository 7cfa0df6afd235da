"""Results in COCO's forms."""
