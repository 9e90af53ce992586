"""What a run left in its folder: read while it runs, shown on a page, compared with other runs."""
