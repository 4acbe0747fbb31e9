"""Five domains of digits made from what scikit-learn and matplotlib bring along."""
