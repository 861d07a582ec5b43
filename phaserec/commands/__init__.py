"""What the commands do, one file a command: from files to files."""
