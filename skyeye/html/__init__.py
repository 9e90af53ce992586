"""What all pages share: head and policy, style, thumbnails, line charts, numbers as text."""
