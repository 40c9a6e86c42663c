"""How long a plan's programs take: the work in them, a model of the device, and seconds."""
