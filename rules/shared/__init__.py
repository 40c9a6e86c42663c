"""What rules have in common: traces that several of them carry, and ways to read one."""
