"""Ready worker functions. They are what a user's own would be: they see the model and the errors only."""
