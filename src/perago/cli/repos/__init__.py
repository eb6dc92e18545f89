"""What `--repo` names: a repository of either store, opened with the settings. Imports the stores' faces only."""
