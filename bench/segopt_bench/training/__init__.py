"""Training of the networks that come with the package, and of Panoptic FPN on COCO."""
