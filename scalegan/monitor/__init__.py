"""A page that shows runs, live from their folders or as one file. It only reads them, and never imports torch."""
