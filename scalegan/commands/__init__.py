"""One file per command of `scalegan`: parses the arguments, calls the library, prints."""
