"""Image folders to training and test samples."""
