"""What the daemon knows of the chain between trades: background values, each with its age."""
