"""Click logs made ready for training at any size: cleaned, cut by time, measured, reported on."""
