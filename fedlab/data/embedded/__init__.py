"""Five domains of digits made from data that scikit-learn and matplotlib contain."""
