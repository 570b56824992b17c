"""A web page and an HTTP API over the same engine that `unveil restore` uses."""
