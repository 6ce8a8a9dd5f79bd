"""Files that appear whole; figures and tables that look alike."""
