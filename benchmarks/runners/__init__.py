"""One module for each platform: the same work (``--work``), answered by one line of JSON."""
