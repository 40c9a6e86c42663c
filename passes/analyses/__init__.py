"""What passes ask of a transition: its data-flow, which positions are reached, what a plan carries."""
