"""The core's inner loops in C: ``passes`` is made of the sources beside this file."""
