"""What readers share: problems, image folders, splits, JSON, boxes in texts."""
