"""Records from elsewhere into the local store: from CloudWatch Logs and X-Ray, and from streams and files of log."""
