"""Which format lies in a folder or file."""
