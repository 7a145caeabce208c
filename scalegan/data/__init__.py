"""Images on disk: what a set is (here), how it is made (`preparing`), how it is read (`reading`)."""
