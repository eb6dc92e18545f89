"""What the second attempt on a host costs, with workspaces that stay and without."""
