"""One file per verb of `scalegan`: parses the arguments, calls the library, prints."""
