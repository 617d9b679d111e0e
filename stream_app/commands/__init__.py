"""The commands of ``clickahead``, one file each."""
