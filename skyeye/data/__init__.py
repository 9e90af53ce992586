"""Records, readers of published formats, the mixture, image transforms, and the one module that makes token ids."""
