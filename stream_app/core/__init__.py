"""Pure functions from bytes to outputs: no clock, no network, no files, no randomness."""
