"""The repository that `--repo` names, of either store. Imports only the public parts of the stores."""
