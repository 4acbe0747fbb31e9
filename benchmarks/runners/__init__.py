"""One module for each platform: the same work, told by ``--work``, answered by one line of JSON."""
