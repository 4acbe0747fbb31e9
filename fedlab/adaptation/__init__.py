"""What is done with a trained model afterwards: personalising it, and auditing labels with it."""
