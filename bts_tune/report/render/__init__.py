"""A report's blocks as HTML, Markdown or text."""
