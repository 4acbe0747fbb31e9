"""One module for each platform: the same work, named by ``--work``, answered by one line of JSON."""
