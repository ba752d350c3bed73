"""From a request to a result."""
