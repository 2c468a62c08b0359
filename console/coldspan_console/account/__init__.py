"""Functions in an AWS account: found, given the layer, and given back what that changed."""
