"""Random changes of training images: steps, the policies made of them, and what applies them."""
