"""The repository that `--repo` names, of any store. Finds the store through `stores.table`; imports none."""
