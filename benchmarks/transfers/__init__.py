"""Files up to and down from a lakeFS on an S3 block store, beside lakectl."""
