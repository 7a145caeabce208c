"""Image sets on disk: what they hold (here), writing them (`preparing`), reading them (`reading`)."""
