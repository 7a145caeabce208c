"""A file for each verb of `scalegan`: it parses, calls and prints."""
