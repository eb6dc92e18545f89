"""The attempt's directory on disk: owner marker, manifest, names of files, janitor."""
