"""What a person looks at: grids, charts, pages."""
