"""What people look at: terminal tables, plots, the web page."""
