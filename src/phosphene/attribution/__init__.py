"""Attribution: which pixels of a picture an objective owes its value to, by gradients and by perturbation."""
