"""What is done with a trained model: personalising it, adapting it to tests, auditing labels."""
