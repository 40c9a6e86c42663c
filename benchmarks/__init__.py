"""Speed, memory and compile time of compiled learners, beside programs for the same gradients written by hand."""
