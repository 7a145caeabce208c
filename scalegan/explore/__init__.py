"""The page of `scalegan explore`: runs and exports by clicking. Every click is a command, which the page shows."""
