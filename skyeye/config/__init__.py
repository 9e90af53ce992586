"""The typed shape of a recipe, and how a YAML file becomes one."""
